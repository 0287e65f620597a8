"""``maskstream web`` as a process of its own, on a store that it shares with a runtime."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from maskstream.pipeline.cli.main import main
from maskstream.pipeline.store import open_store
from maskstream.pipeline.web.tokens import Tokens
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.scripted import serving
from tests.pipeline.web.stack import start


@contextmanager
def web_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it prints."""
    command = [sys.executable, "-m", "maskstream", "web", "--http", "127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, process.wait(60)
        try:
            yield process, found[0]
        finally:
            process.kill()


def test_a_web_service_is_killed_and_another_goes_on(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 6)
    store = open_store()
    with serving(store):
        with (
            web_process("--redis", store.url or "") as (_, url),
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            session_id = start(http, clip, autostart=True, latency="live")
        with (
            web_process("--redis", store.url or "") as (process, url),
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            text = http.get(f"/v1/sessions/{session_id}/events").text
            assert re.findall(r"\"frame_index\":(\d+),\"epoch", text) == list("012345")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 128 + signal.SIGINT
    store.close()


def test_the_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with web_process("--redis", store.url or "") as (_, url):
        address = url.removeprefix("http://").rstrip("/")
        try:
            assert main(["web", "--redis", store.url or "", "--http", address]) == 2
        finally:
            for each, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
                signal.signal(each, handler)
    store.close()
    assert f"cannot listen on {address}" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["8000", "host:", ":1", "host:99999", "host:x"])
def test_an_address_has_a_host_and_a_port(given: str) -> None:
    with pytest.raises(SystemExit):
        main(["web", "--redis", "redis://localhost", "--http", given])


def test_a_network_needs_tokens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASKSTREAM_TOKEN", raising=False)
    assert main(["web", "--redis", "redis://localhost", "--http", "0.0.0.0:0"]) == 2
    assert "tokens" in capsys.readouterr().err


def test_a_token_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web-token", "ann", "--admin"]) == 0
    printed = capsys.readouterr()
    token = printed.err.split()[-1]
    file = tmp_path / "tokens"
    file.write_text(printed.out)
    os.chmod(file, 0o600)
    caller = Tokens(file).caller(token)
    assert caller is not None
    assert (caller.owner, caller.is_admin) == ("ann", True)
    assert token not in printed.out
