"""``maskstream stream`` on a real RTSP server, with a runtime of its own."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import ray

from maskstream.pipeline.cli.connecting import URL_VARIABLE
from maskstream.pipeline.cli.main import main
from tests.integration.streams import write_stream
from tests.pipeline import scene
from tests.pipeline.live.rtsp import RtspProxy, RtspServer

NUM_FRAMES = 6
LOGIN = "Horst:Buche42@"


def num_frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_camera_is_followed_with_an_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    out, media = tmp_path / "out", tmp_path / "media"
    media.mkdir()
    write_stream(media / "clip.mp4")
    with (
        RtspServer(media) as server,
        RtspProxy(server.port, credentials=("Horst", "Buche42")) as proxy,
    ):
        url = server.url(port=proxy.port).replace("://", f"://{LOGIN}")
        options = ["--text", "red circle", "--latency", "live", "--max-frames", str(NUM_FRAMES)]
        options += ["--queue-size", "256"]  # however slow this machine is, none is dropped
        assert main(["stream", url, *options, "--out", str(out), "--overlay"]) == 0
    written = capfd.readouterr()
    assert f"{NUM_FRAMES} frames, 1 object" in written.out
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["frame_index"] for line in lines] == list(range(NUM_FRAMES))
    assert [line["objects"][0]["label"] for line in lines] == ["red circle"] * NUM_FRAMES
    # Frames that came while none was wanted are dropped where the stream is read.
    numbers = [line["source_frame_index"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert {(line["height"], line["width"]) for line in lines} == {(scene.HEIGHT, scene.WIDTH)}
    # The first frame may come without a time stamp, and begins no segment of its own.
    [video] = out.glob("overlay-*.mp4")
    assert num_frames(video) == NUM_FRAMES
    for text in (written.out, written.err, (out / "results.jsonl").read_text()):
        assert "Horst" not in text
        assert "Buche" not in text
    assert not ray.is_initialized()
