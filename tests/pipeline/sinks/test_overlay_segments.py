"""Overlay videos of streams without an end, in segments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from maskstream.core.errors import InputError, OutputError
from maskstream.pipeline.sinks.overlay_segments import OverlaySegments
from tests.pipeline.clips import numbered_image
from tests.pipeline.frame_results import make_result


def write(
    sink: OverlaySegments,
    index: int,
    time_s: float | None,
    epoch: int = 0,
    width: int = 80,
    wall_s: float | None = None,
) -> NDArray[np.uint8]:
    image = numbered_image(index, width)
    sink.write(make_result(index, size=(48, width)), image, time_s, epoch, wall_s)
    return image


def contents(folder: Path) -> dict[str, list[float]]:
    """Name of each video, with the times of its frames."""
    found = {}
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
            found[path.name] = [round(float(frame.time or 0), 3) for frame in frames]
    return found


def test_a_segment_ends_after_its_time(tmp_path: Path) -> None:
    sink = OverlaySegments(tmp_path, segment_s=0.3, fps=Fraction(10))
    for index in range(7):
        write(sink, index, 5 + index / 10)
        assert len(sink.paths) == index // 3
        # Whatever happens now, the segments before are whole.
        assert len(contents(tmp_path)) == index // 3
    sink.close()
    sink.close()
    assert contents(tmp_path) == {
        "overlay-00000.mp4": [0.0, 0.1, 0.2],
        "overlay-00001.mp4": [0.0, 0.1, 0.2],
        "overlay-00002.mp4": [0.0],
    }
    assert [path.name for path in sink.paths] == sorted(contents(tmp_path))
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(OutputError, match="is closed"):
        write(sink, 8, 9.0)


def test_a_first_frame_without_a_time_is_in_the_segment_of_the_next(tmp_path: Path) -> None:
    sink = OverlaySegments(tmp_path, segment_s=1.0)
    for index, time_s in enumerate((None, 700.0, 700.2, None, 700.6, 701.0)):
        write(sink, index, time_s, wall_s=5000 + index / 5)
    sink.close()
    assert list(contents(tmp_path).values()) == [[0.0, 0.2, 0.4, 0.6, 0.8], [0.0]]


@pytest.mark.parametrize("is_clocked", [True, False])
def test_without_any_times_it_is_when_frames_came_or_the_rate_that_counts(
    tmp_path: Path, is_clocked: bool
) -> None:
    sink = OverlaySegments(tmp_path, segment_s=0.3, fps=Fraction(10))
    for index in range(4):
        write(sink, index, None, wall_s=5000 + index / 5 if is_clocked else None)
    sink.close()
    expected = [[0.0, 0.2], [0.0, 0.2]] if is_clocked else [[0.0, 0.1, 0.2], [0.0]]
    assert list(contents(tmp_path).values()) == expected


def test_objects_are_painted(tmp_path: Path) -> None:
    sink = OverlaySegments(tmp_path)
    image = write(sink, 3, 0.0)
    sink.close()
    with av.open(str(sink.paths[0])) as container:
        painted = next(container.decode(video=0)).to_ndarray(format="rgb24")
    inside = make_result(3, size=(48, 80)).masks[0]
    difference = np.abs(painted.astype(int) - image).mean(axis=2)
    assert difference[inside].mean() > 30
    assert difference[30:, 40:].mean() < 10


@pytest.mark.parametrize("change", ["size", "epoch", "time back"])
def test_what_one_file_cannot_hold_starts_another(tmp_path: Path, change: str) -> None:
    sink = OverlaySegments(tmp_path)
    write(sink, 0, 1.0)
    write(sink, 1, 1.1)
    width = 160 if change == "size" else 80
    time_s = 0.5 if change == "time back" else 1.2
    write(sink, 2, time_s, int(change == "epoch"), width)
    sink.close()
    assert [len(times) for times in contents(tmp_path).values()] == [2, 1]


def test_only_the_newest_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    for first in (0, 5):
        sink = OverlaySegments(tmp_path, segment_s=0.1, keep=2)
        for index in range(5):
            write(sink, index, index / 10)
        sink.close()
        assert [path.name for path in sink.paths] == [
            f"overlay-{number:05}.mp4" for number in (first + 3, first + 4)
        ]
    assert sorted(contents(tmp_path)) == [f"overlay-{number:05}.mp4" for number in (3, 4, 8, 9)]


def test_nothing_is_written_without_a_frame(tmp_path: Path) -> None:
    sink = OverlaySegments(tmp_path / "new")
    sink.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_cannot_be(tmp_path: Path) -> None:
    for segment_s, keep in ((0.0, None), (1.0, 0)):
        with pytest.raises(InputError, match="expected a positive length"):
            OverlaySegments(tmp_path, segment_s=segment_s, keep=keep)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        OverlaySegments(tmp_path / "file")
