"""The command line, from typed arguments to files and exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskstream.core.errors import PromptError
from maskstream.pipeline.api.commands import AddConcept, AddObject
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.cli.main import main
from maskstream.pipeline.cli.segment import Segmenter
from maskstream.pipeline.cli.typed_prompts import parse_prompts
from maskstream.pipeline.sources import Frame, FrameSource, open_source
from tests.pipeline.clips import number_in, write_numbered_clip
from tests.pipeline.frame_results import make_result

NUM_FRAMES = 24


class ScriptedSegmenter:
    """Gives one made-up object for each prompt, from the prompt's frame on, and keeps a diary."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.diary: list[tuple[str, int | None, Any]] = []
        self._labels: list[str] = []
        self.after_frame: Callable[[int], None] = lambda index: None

    def reset(self) -> None:
        self.diary.append(("reset", None, None))
        self._labels = []

    def add_concept(
        self,
        text: str | None = None,
        *,
        frame: Frame | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        box_labels: Sequence[int] | None = None,
    ) -> int:
        index = None if frame is None else frame.index
        self.diary.append((f"concept {text}", index, (boxes, box_labels)))
        self._labels.append(text or "visual")
        return len(self._labels) - 1

    def add_object(
        self,
        frame: Frame,
        *,
        points: Sequence[Sequence[float]] | None = None,
        point_labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        mask: NDArray[np.bool_] | None = None,
        label: str | None = None,
    ) -> int:
        assert number_in(frame.image) == frame.index
        self.diary.append(("object", frame.index, (points, point_labels, box)))
        if box is not None and box[0] == 0:
            raise PromptError("this box shows nothing")
        self._labels.append(label or "object")
        return len(self._labels) - 1

    def at(self, frame: Frame) -> FrameResult:
        return self._result(frame)

    def run(
        self,
        source: FrameSource,
        *,
        direction: str = "forward",
        start_frame: int = 0,
        max_frames: int | None = None,
    ) -> Iterator[FrameResult]:
        ways = []
        if direction != "backward":
            ways.append(source.iterate(start_frame))
        if direction != "forward" and start_frame > 0:
            ways.append(source.iterate(start_frame - 1, reverse=True))
        for frames in ways:
            held: list[FrameResult] = []
            for count, frame in enumerate(frames, start=1):
                held.append(self._result(frame))
                if len(held) > 3:
                    yield held.pop(0)
                self.after_frame(frame.index)
                if count == max_frames:
                    break
            yield from held

    def _result(self, frame: Frame) -> FrameResult:
        num_objects = len(self._labels)
        return make_result(
            frame.index,
            range(num_objects),
            pts_s=frame.pts_s,
            labels=self._labels,
            prompt_ids=range(num_objects),
        )


class Loader:
    """Makes scripted segmenters and remembers them."""

    def __init__(self) -> None:
        self.made: list[ScriptedSegmenter] = []
        self.after_frame: Callable[[int], None] = lambda index: None

    def __call__(self, options: Namespace) -> Segmenter:
        self.made.append(ScriptedSegmenter(options))
        self.made[-1].after_frame = self.after_frame
        return self.made[-1]

    @property
    def diary(self) -> list[tuple[str, int | None, Any]]:
        return self.made[0].diary


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES, options={"g": "7", "bf": "2"})


def _lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _indices(folder: Path) -> list[int]:
    return [line["frame_index"] for line in _lines(folder)]


def test_words_to_files(
    clip: Path, tmp_path: Path, loader: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["segment", str(clip), "--text", "red circle", "--text", "dog", "--out", str(out)]
    assert main(arguments, load=loader) == 0
    assert {path.name for path in out.iterdir()} == {
        "results.jsonl",
        "coco.json",
        "youtube_vis.json",
        "overlay.mp4",
    }
    assert _indices(out) == list(range(NUM_FRAMES))
    assert {item["label"] for item in _lines(out)[3]["objects"]} == {"red circle", "dog"}
    with open_source(out / "overlay.mp4") as overlay:
        assert overlay.count_frames() == NUM_FRAMES
    printed = capsys.readouterr()
    assert "24 frames, 2 objects" in printed.out
    assert "red circle" in printed.out
    for name in ("results.jsonl", "coco.json", "youtube_vis.json", "overlay.mp4"):
        assert str(out / name) in printed.out.replace("\n", "")
    assert loader.diary[0] == ("concept red circle", None, (None, None))


def test_a_terminal_shows_progress_speed_and_objects(
    clip: Path,
    tmp_path: Path,
    loader: Loader,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["segment", str(clip), "--text", "a", "--text", "b", "--format", "jsonl"]
    assert main([*command, "--out", str(tmp_path / "quiet")], load=loader) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich, standard error is a terminal then
    monkeypatch.setenv("COLUMNS", "120")
    assert main([*command, "--out", str(tmp_path / "shown")], load=loader) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(rf"segmenting .* {NUM_FRAMES}/{NUM_FRAMES} \d+\.\d fps 2 objects", shown)


def test_model_options_reach_the_model(clip: Path, tmp_path: Path, loader: Loader) -> None:
    arguments = ["segment", str(clip), "--text", "a", "--out", str(tmp_path / "out")]
    arguments += ["--checkpoint", "tiny", "--device", "cpu", "--dtype", "float32"]
    arguments += ["--score-threshold", "0.3", "--latency", "live", "--format", "jsonl"]
    assert main(arguments, load=loader) == 0
    options = loader.made[0].options
    assert (options.checkpoint, options.device, options.dtype) == ("tiny", "cpu", "float32")
    assert (options.score_threshold, options.latency) == (0.3, "live")


def test_prompts_are_given_at_their_frames(clip: Path, tmp_path: Path, loader: Loader) -> None:
    out = tmp_path / "out"
    mask = np.zeros((48, 80), np.uint8)
    mask[10:20, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "m@sk.png")
    arguments = ["segment", str(clip), "--out", str(out), "--format", "jsonl"]
    arguments += ["--point", "0.5,0.5;0.25,0.5,0@9", "--box", "0.1,0.2,0.3,0.4", "--text", "a"]
    arguments += [
        "--mask",
        f"{tmp_path / 'm@sk.png'}@5",
        "--start-frame",
        "2",
        "--max-frames",
        "12",
    ]
    assert main(arguments, load=loader) == 0
    assert loader.diary == [
        ("object", 2, (None, None, pytest.approx((0.1, 0.2, 0.3, 0.4)))),
        ("concept a", None, (None, None)),
        ("object", 5, (None, None, None)),
        ("object", 9, ([(0.5, 0.5), (0.25, 0.5)], [1, 0], None)),
    ]
    assert _indices(out) == list(range(2, 14))
    assert [len(line["objects"]) for line in _lines(out)] == [2] * 3 + [3] * 4 + [4] * 5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--direction", "backward"], list(range(23, -1, -1))),
        (["--direction", "backward", "--start-frame", "9", "--max-frames", "4"], [9, 8, 7, 6]),
        (["--direction", "both", "--start-frame", "4", "--max-frames", "3"], [4, 5, 6, 3, 2, 1]),
        (
            ["--direction", "both", "--box", "0.1,0.1,0.1,0.1@20"],
            [*range(20, 24), *range(19, -1, -1)],
        ),
        (["--start-frame", "21"], [21, 22, 23]),
    ],
)
def test_directions(
    clip: Path, tmp_path: Path, loader: Loader, arguments: list[str], expected: list[int]
) -> None:
    out = tmp_path / "out"
    command = ["segment", str(clip), "--text", "a", "--out", str(out), *arguments]
    assert main(command, load=loader) == 0
    assert _indices(out) == expected
    with open_source(out / "overlay.mp4") as overlay:
        assert overlay.count_frames() == len(expected)
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [image["id"] for image in images] == sorted(expected)


def test_pixels_and_exemplars(clip: Path, tmp_path: Path, loader: Loader) -> None:
    arguments = ["segment", str(clip), "--out", str(tmp_path / "out"), "--format", "jsonl"]
    arguments += ["--text", "a", "--pixels", "--exemplar", "8,12,40,24;0,0,8,12,0@3"]
    assert main(arguments, load=loader) == 0
    boxes = [pytest.approx((0.1, 0.25, 0.5, 0.5)), pytest.approx((0, 0, 0.1, 0.25))]
    assert loader.diary == [("concept a", 3, (boxes, [1, 0]))]


def test_folders_and_pictures(tmp_path: Path, loader: Loader) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (80, 48)).save(folder / f"{number}.jpg")
    command = ["segment", str(folder), "--text", "a", "--fps", "10", "--out", str(tmp_path / "a")]
    assert main(command, load=loader) == 0
    assert [line["pts_s"] for line in _lines(tmp_path / "a")] == [0, 0.1, 0.2]
    images = json.loads((tmp_path / "a" / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["0.jpg", "1.jpg", "2.jpg"]
    picture = str(folder / "1.jpg")
    assert main(["segment", picture, "--text", "a", "--out", str(tmp_path / "b")], load=loader) == 0
    assert _indices(tmp_path / "b") == [0]


def test_the_output_folder_is_named_after_the_source(
    clip: Path, tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["segment", "clip.mp4", "--text", "a", "--no-overlay"], load=loader) == 0
    assert {path.name for path in (tmp_path / "clip-masks").iterdir()} == {
        "results.jsonl",
        "coco.json",
        "youtube_vis.json",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to look for"),
        (["--text", ""], "--text : text is empty"),
        (["--point", "0.5"], "--point 0.5: expected x,y[,label][@frame], but there are 1 numbers"),
        (["--point", "a,b"], "expected x,y[,label][@frame]"),
        (
            ["--point", "40,20"],
            "outside the frame; normalised coordinates lie in [0, 1]; these look",
        ),
        (["--point", "400,20", "--pixels"], "x lies in [0, 80] and y in [0, 48] pixels"),
        (["--point", "nan,0.5"], "coordinates must be finite"),
        (["--point", "0.5,0.5,2"], "each must be 1 (this) or 0 (not this)"),
        (["--point", "0.5,0.5@-1"], "after @ comes a frame number"),
        (["--box", "0.5,0.5,1.9,0.1"], "reaches far out of it"),
        (["--box", "0.1,0.1,0.1,0.1;0.2,0.2,0.1,0.1"], "one box shows one object"),
        (["--box", "0.1,0.1,0.1,0.1@99"], "frame 99 was never reached"),
        (["--box", "0.1,0.1,0.1,0.1@1", "--start-frame", "2"], "not among the frames 2 to the end"),
        (["--box", "0,0,0.1,0.1"], "--box 0,0,0.1,0.1: this box shows nothing"),
        (["--mask", "missing.png"], "--mask missing.png: missing.png does not exist"),
        (
            ["--text", "a", "--start-frame", "99"],
            "there is no frame 99; frames are numbered 0 to 23",
        ),
        (["--text", "a", "--font", "missing.ttf"], "--font missing.ttf cannot be read"),
    ],
)
def test_input_that_cannot_be_used(
    clip: Path,
    tmp_path: Path,
    loader: Loader,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(clip), "--out", str(out), *arguments], load=loader) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("maskstream: error: ")
    assert error.count("\n") == 1
    if "never reached" not in message:
        assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["segment", "clip.mp4", "--txt", "a"],
        ["segment", "clip.mp4", "--tex", "a"],
        ["segment", "clip.mp4", "--text", "a", "--score-threshold", "1.5"],
        ["segment", "clip.mp4", "--text", "a", "--max-frames", "0"],
        ["segment", "clip.mp4", "--text", "a", "--start-frame", "-1"],
        ["segment", "clip.mp4", "--text", "a", "--format", "avi"],
        ["segment", "clip.mp4", "--text", "a", "--direction", "up"],
        ["segment", "clip.mp4", "--text", "a", "--fps", "nan"],
        ["checkpoint"],
        ["checkpoint", "inspect"],
        ["checkpoint", "convert", "tiny"],
    ],
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: maskstream" in capsys.readouterr().err


def test_sources_that_cannot_be_read(
    tmp_path: Path, loader: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in {
        "text.mp4": "cannot be read as a video",
        "none": "does not exist",
    }.items():
        assert main(["segment", str(tmp_path / name), "--text", "a"], load=loader) == 2
        assert message in capsys.readouterr().err
    assert loader.made == []


def test_a_truncated_video_leaves_its_results_and_exit_code_1(
    tmp_path: Path, loader: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_numbered_clip(
        tmp_path / "clip.mp4",
        60,
        options={"g": "6", "bf": "0"},
        container_options={"movflags": "faststart"},
    )
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
    out = tmp_path / "out"
    assert main(["segment", str(clip), "--text", "a", "--out", str(out)], load=loader) == 1
    assert "truncated" in capsys.readouterr().err
    indices = _indices(out)
    assert indices == list(range(len(indices)))
    assert 10 < len(indices) < 60
    with open_source(out / "overlay.mp4") as overlay:
        assert overlay.count_frames() == len(indices)


def test_a_folder_that_cannot_be_written(
    clip: Path, tmp_path: Path, loader: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way")
    command = ["segment", str(clip), "--text", "a", "--out", str(tmp_path / "out")]
    assert main(command, load=loader) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert loader.made == []


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], loader: Loader) -> None:
    assert main(["segment", "missing.mp4", "--text", "a", "--debug"], load=loader) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.rstrip().splitlines()[-1].startswith("maskstream: error: ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_the_first_signal_finishes_the_files(
    clip: Path, tmp_path: Path, loader: Loader, number: int, code: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    loader.after_frame = lambda index: os.kill(os.getpid(), number) if index == 9 else None
    out = tmp_path / "out"
    assert main(["segment", str(clip), "--text", "a", "--out", str(out)], load=loader) == code
    assert _indices(out) == list(range(10))  # those held back are given, too
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 10
    with open_source(out / "overlay.mp4") as overlay:
        assert overlay.count_frames() == 10
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_kills(clip: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from maskstream.pipeline.cli.main import main\n"
        "from tests.pipeline.cli.test_segment import Loader\n"
        "loader = Loader()\n"
        "loader.after_frame = lambda index: [os.kill(os.getpid(), signal.SIGINT) for _ in 'xx']\n"
        "sys.exit(main(sys.argv[1:], load=loader))\n"
    )
    command = [sys.executable, "-c", script, "segment", str(clip), "--text", "a"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGINT
    assert b"press Ctrl-C again to kill" in done.stderr


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--version"], "maskstream "),
        (["--help"], "segment"),
        (["segment", "--help"], "coordinates are normalised"),
        (["checkpoint", "convert", "--help"], "--overwrite"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert words in capsys.readouterr().out


def test_checkpoints_are_inspected_and_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "inspect", "tiny"]) == 0
    assert "detector_model.vision_encoder" in capsys.readouterr().out
    target = tmp_path / "half"
    convert = ["checkpoint", "convert", "tiny", str(target), "--dtype", "bfloat16"]
    assert main(convert) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert main(["checkpoint", "inspect", str(target)]) == 0
    assert "bfloat16" in capsys.readouterr().out
    assert main(convert) == 1
    assert str(target) in capsys.readouterr().err
    assert main([*convert, "--overwrite"]) == 0
    assert main(["checkpoint", "inspect", str(tmp_path / "none")]) == 2


def test_all_faulty_prompts_are_named_together() -> None:
    typed = {"text": "", "exemplar": "1", "point": "9,9", "box": "x", "mask": "none.png"}
    options = Namespace(prompts=list(typed.items()), pixels=False)
    with pytest.raises(PromptError) as caught:
        parse_prompts(options, 80, 48)
    for option in ("--text", "--exemplar", "--point", "--box", "--mask"):
        assert option in str(caught.value)


@pytest.mark.parametrize("number", [str(2**53), "9" * 5000])
def test_a_frame_number_beyond_all_videos(number: str, tmp_path: Path) -> None:
    prompts = [("point", f"0,0@{number}"), ("mask", f"{tmp_path / 'none.png'}@{number}")]
    options = Namespace(prompts=prompts, pixels=False)
    with pytest.raises(PromptError, match=r"--point .*: after @ comes .*; --mask .*: after @"):
        parse_prompts(options, 80, 48)


def test_mask_pictures(tmp_path: Path) -> None:
    def parse(name: str) -> AddConcept | AddObject:
        options = Namespace(prompts=[("mask", str(tmp_path / name))], pixels=False)
        return parse_prompts(options, 4, 3)[0].command

    inside = np.zeros((3, 4), np.uint8)
    inside[1, 2:] = 7
    palette = Image.fromarray(inside, "L").convert("P")
    palette.putdata(inside.ravel().tolist())
    for name, picture in {
        "grey.png": Image.fromarray(inside),
        "bits.png": Image.fromarray(inside > 0),
        "rgb.png": Image.fromarray(np.repeat(inside[:, :, None], 3, axis=2)),
        "palette.png": palette,
    }.items():
        picture.save(tmp_path / name)
        prompt = parse(name)
        assert isinstance(prompt, AddObject)
        assert prompt.mask_array is not None
        assert np.array_equal(prompt.mask_array, inside > 0)
    Image.new("L", (8, 8), 255).save(tmp_path / "big.png")
    Image.new("L", (4, 3)).save(tmp_path / "empty.png")
    Image.new("LA", (4, 3), (255, 255)).save(tmp_path / "full.png")
    Image.new("RGB", (4, 3), "white").save(tmp_path / "full.jpg")
    (tmp_path / "text.png").write_text("no picture")
    for name, message in {
        "big.png": "8×8 pixels; it must be 4×3",
        "empty.png": "the mask is empty",
        "text.png": "is not a picture that can be read",
        "full.png": "covers the whole frame",
        "full.jpg": "covers the whole frame",
    }.items():
        with pytest.raises(PromptError, match=message):
            parse(name)
