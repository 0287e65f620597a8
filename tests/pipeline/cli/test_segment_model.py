"""The command line with the embedded checkpoint, on the bundled clip."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.rle import decode_mask, mask_box
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.main import main
from maskstream.pipeline.sources import open_source

CLIP = str(files("maskstream.pipeline").joinpath("assets", "demo.mp4"))
MODEL = ["--checkpoint", "tiny", "--device", "cpu"]


def _results(path: Path) -> list[FrameResult]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [FrameResult.from_record(json.loads(line)) for line in lines]


def _truth(frame_index: int) -> NDArray[np.bool_]:
    """(H, W) mask of the first object of the bundled clip."""
    truth = json.loads(
        files("maskstream.pipeline").joinpath("assets", "demo_truth.json").read_text()
    )
    item = truth["frames"][frame_index]["objects"][0]
    small = decode_mask({"size": truth["size"], "counts": item["counts"]})
    with open_source(CLIP) as source:
        size = source.info.width, source.info.height
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.NEAREST))


def test_words_a_mask_a_box_and_points(tmp_path: Path) -> None:
    mask = _truth(2)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    x0, y0, x1, y1 = mask_box(mask) or (0, 0, 0, 0)
    command = ["segment", CLIP, *MODEL, "--out", str(tmp_path / "out"), "--max-frames", "5"]
    command += ["--text", "red circle", "--mask", f"{tmp_path / 'mask.png'}@2", "--pixels"]
    command += ["--box", f"{x0},{y0},{x1 - x0},{y1 - y0}@3"]
    command += ["--point", f"{(x0 + x1) / 2},{(y0 + y1) / 2};0,0,0@3"]
    assert main(command) == 0
    results = _results(tmp_path / "out" / "results.jsonl")
    assert [result.frame_index for result in results] == list(range(5))
    # A mask prompt comes out as it went in, whatever the weights.
    overlaps = [(item & mask).sum() / (item | mask).sum() for item in results[2].masks]
    assert max(overlaps) > 0.9
    with open_source(tmp_path / "out" / "overlay.mp4") as overlay:
        assert overlay.count_frames() == 5


def test_backward(tmp_path: Path) -> None:
    command = ["segment", CLIP, *MODEL, "--text", "red circle", "--out", str(tmp_path)]
    command += [
        "--direction",
        "backward",
        "--start-frame",
        "5",
        "--max-frames",
        "4",
        "--latency",
        "live",
    ]
    assert main(command) == 0
    assert [r.frame_index for r in _results(tmp_path / "results.jsonl")] == [5, 4, 3, 2]
    video: dict[str, Any] = json.loads((tmp_path / "youtube_vis.json").read_text())["videos"][0]
    assert video["frame_indices"] == [2, 3, 4, 5]


@pytest.mark.parametrize("arguments", [["--checkpoint", "none"], ["--device", "abacus"]])
def test_models_that_cannot_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    out = tmp_path / "out"
    assert main(["segment", CLIP, "--text", "a", "--out", str(out), *arguments]) == 2
    assert arguments[1] in capsys.readouterr().err
    assert not out.exists()


def test_ctrl_c_leaves_finished_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maskstream", "segment", CLIP, *MODEL]
    command += ["--text", "red circle", "--latency", "live", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    growing = tmp_path / "results.jsonl.part"
    while process.poll() is None and not (growing.exists() and growing.stat().st_size):
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130, error.decode()
    assert b"finishing the files" in error
    assert b"results.jsonl" in output.replace(b"\n", b"")
    results = _results(tmp_path / "results.jsonl")
    assert 1 <= len(results) < 264
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == len(results)
    with open_source(tmp_path / "overlay.mp4") as overlay:
        assert overlay.count_frames() == len(results)
