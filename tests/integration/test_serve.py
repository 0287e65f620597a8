"""``maskstream serve`` as a process of its own, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskstream.core.errors import InputError, SessionLimitError
from maskstream.pipeline.client.client import Client
from tests.pipeline import scene
from tests.pipeline.store.servers import eventually

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and where its clients meet it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "maskstream", "serve", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As from a terminal: nobody else is to get its Ctrl-C.
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = threading.Timer(100, process.kill)
    deadline.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            address = re.search(r"--redis (\S+)", line)
            if address is not None:
                yield process, address[1]
                break
        else:
            _, errors = process.communicate()
            pytest.fail(f"it does not serve: {errors}")
    finally:
        deadline.cancel()
        process.kill()
        process.communicate()


def start_and_follow(client: Client, source: str) -> None:
    """A session that runs by itself may tell only then that its source is refused."""
    start = {"type": "start_session", "resource_path": source, "session_id": "refused"}
    client.handle_request(start)
    try:
        list(client.handle_stream_request({"type": "stream_results", "session_id": "refused"}))
    finally:
        client.handle_request({"type": "close_session", "session_id": "refused"})


def test_serve_until_ctrl_c(tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for folder in (allowed, other):
        folder.mkdir()
    inside = scene.write_scene(allowed / "clip.mp4", 3)
    outside = scene.write_scene(other / "clip.mp4", 3)
    options = ("--max-sessions", "1", "--allow-root", str(allowed), "--allow-scheme", "file")
    with serving(*options) as (process, url), Client(url) as client:
        for source, complaint in (
            (str(outside), "does not lie in one of the allowed folders"),
            (str(allowed / ".." / "other" / "clip.mp4"), "allowed folders"),
            ("rtsp://bob:hunter2@127.0.0.1/x", "'rtsp' is not allowed"),
        ):
            with pytest.raises(InputError, match=complaint) as caught:
                start_and_follow(client, source)
            assert "hunter2" not in str(caught.value)
        start = {"type": "start_session", "resource_path": str(inside)}
        session_id = client.handle_request(start)["session_id"]
        with pytest.raises(SessionLimitError, match="there are 1 open sessions"):
            client.handle_request(start)
        prompt = {"type": "add_prompt", "frame_index": 0, "text": "red circle"}
        client.handle_request(prompt | {"session_id": session_id})
        stream = {"type": "propagate_in_video", "session_id": session_id}
        assert len(list(client.handle_stream_request(stream))) == 3
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "sessions are left as they are" in errors
    assert "Traceback" not in errors
    assert "hunter2" not in out + errors
    # Its own server has ended with it.
    assert eventually(lambda: not Path(url.removeprefix("unix://")).exists())
