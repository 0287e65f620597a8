"""A frame whose number and time are known is reached without decoding all frames before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskstream.pipeline.sources import VideoSource
from tests.pipeline.clips import number_in, write_numbered_clip

NUM_FRAMES = 300
UNEVEN = [10 * number + 3 * (number % 3) for number in range(NUM_FRAMES)]
EVERY_24 = {"g": "24", "sc_threshold": "0"}


def first_decoded(source: VideoSource, index: int) -> int:
    """The frame that decoding starts at, in order to reach another."""
    anchor = source.anchor_before(index)
    return 0 if anchor is None else anchor.index


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b-frames.mp4", {"options": {"g": "24", "bf": "3"}}),
        ("open-gop.mkv", {"options": {"g": "24", "bf": "3", "x264-params": "open-gop=1"}}),
        ("uneven.mp4", {"options": {"g": "24"}, "ticks": UNEVEN}),
        ("stream.ts", {"options": {"g": "24", "bf": "2"}}),
        ("old.avi", {"codec": "mpeg4", "options": {"g": "24"}}),
        ("one-key-frame.mp4", {"options": {"g": "1000", "keyint_min": "1000"}}),
    ],
)
def test_a_known_frame_is_the_same_as_after_all_before_it(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = write_numbered_clip(tmp_path / name, NUM_FRAMES, **options)
    with VideoSource(path) as source:
        times = [frame.pts_s for frame in source]
    for index in (0, 30, 251, 275, 299):
        time = times[index]
        assert time is not None
        for lead_s in (0.0, 0.5):
            with VideoSource(path) as source:
                source.know_frame(index, time, lead_s)
                assert number_in(source.read(index).image) == index
                before = max(0, index - 15)
                seen = [number_in(frame.image) for frame in source.iterate(before, index + 1)]
                assert seen == list(range(before, index + 1))


def test_decoding_starts_at_the_key_frame_before(tmp_path: Path) -> None:
    path = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES, options=EVERY_24)
    with VideoSource(path) as source:
        source.know_frame(275, 275 / 30)
        assert first_decoded(source, 275) == 264
        source.know_frame(275, 275 / 30, lead_s=1.0)
        assert first_decoded(source, 245) == 240


def test_a_time_that_no_frame_has_changes_nothing(tmp_path: Path) -> None:
    path = write_numbered_clip(tmp_path / "clip.mp4", NUM_FRAMES, options=EVERY_24)
    with VideoSource(path) as source:
        for wrong_s in (275.4 / 30, 9000.0, -5.0):
            source.know_frame(275, wrong_s)
        assert number_in(source.read(275).image) == 275
