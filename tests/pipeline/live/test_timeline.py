"""Epochs, gaps, sampling and pauses, without a clock."""

from __future__ import annotations

import random

import pytest

from maskstream.pipeline.live import Gap, GapCause
from maskstream.pipeline.live.backoff import Backoff
from maskstream.pipeline.live.sampling import FrameSampler
from maskstream.pipeline.live.timeline import Timeline

SIZE = (80, 48)


def _started(*, is_live: bool = True) -> Timeline:
    timeline = Timeline(pts_jump_s=1.0, silence_gap_s=0.5)
    timeline.begin(GapCause.RECONNECT, is_live=is_live)
    assert timeline.place(10.0, 100.0, SIZE).gap is None
    return timeline


@pytest.mark.parametrize(
    ("pts_s", "clock_s", "size", "expected"),
    [
        (10.04, 100.04, SIZE, None),
        (10.04, 100.0, SIZE, None),  # a burst after a hold-up
        (10.0, 100.04, SIZE, None),  # the same time twice
        (9.96, 100.04, SIZE, None),  # a small step back
        (10.6, 100.1, SIZE, None),  # a variable rate
        (12.0, 102.0, SIZE, Gap(0, 2.0, (GapCause.SILENCE,))),
        (None, 102.0, SIZE, Gap(0, 2.0, (GapCause.SILENCE,))),
        (None, 100.2, SIZE, None),
        (0.0, 100.04, SIZE, Gap(0, 0.0, (GapCause.PTS_JUMP,))),  # a roll-over
        (95453.7, 100.04, SIZE, Gap(0, 0.0, (GapCause.PTS_JUMP,))),
        (0.0, 103.0, SIZE, Gap(0, 3.0, (GapCause.PTS_JUMP,))),
        (10.04, 100.04, (160, 96), Gap(0, 0.0, (GapCause.RESOLUTION,))),
    ],
)
def test_the_second_frame(
    pts_s: float | None, clock_s: float, size: tuple[int, int], expected: Gap | None
) -> None:
    timeline = _started()
    placed = timeline.place(pts_s, clock_s, size)
    assert placed.gap == expected
    assert placed.epoch == int(expected is not None and GapCause.SILENCE not in expected.causes)
    assert timeline.size == size


def test_a_reconnect_tells_how_long_it_took() -> None:
    timeline = _started()
    timeline.begin(GapCause.RECONNECT, is_live=True)
    placed = timeline.place(None, 100.3, SIZE)
    assert (placed.epoch, placed.gap) == (1, Gap(0, pytest.approx(0.3), (GapCause.RECONNECT,)))
    # Time stamps of the new connection are not held against those of the old one.
    assert timeline.place(7.0, 100.34, SIZE).gap is None
    assert timeline.place(0.0, 100.38, SIZE).gap is not None


def test_a_file_is_never_silent() -> None:
    timeline = _started(is_live=False)
    assert timeline.place(99.0, 160.0, SIZE).gap is None
    assert timeline.place(None, 190.0, SIZE).gap is None
    timeline.begin(GapCause.LOOP, is_live=False)
    placed = timeline.place(10.0, 191.0, SIZE)
    assert (placed.epoch, placed.gap) == (1, Gap(0, 0.0, (GapCause.LOOP,)))


def test_frames_without_a_time_get_one_by_the_clock() -> None:
    timeline = _started()
    assert timeline.place(None, 100.2, SIZE).time_s == pytest.approx(10.2)
    assert timeline.place(None, 100.3, SIZE).time_s == pytest.approx(10.3)


def test_gaps_add_up() -> None:
    first = Gap(2, 0.5, (GapCause.RECONNECT, GapCause.DROPPED))
    later = Gap(1, 0.25, (GapCause.DROPPED, GapCause.PTS_JUMP))
    causes = (GapCause.RECONNECT, GapCause.DROPPED, GapCause.PTS_JUMP)
    assert first.then(later) == Gap(3, 0.75, causes)
    assert first.then(None) == first


@pytest.mark.parametrize("source_fps", [10, 24, 25, 29.97, 30, 50, 60])
def test_sampling_to_a_rate_keeps_the_rate(source_fps: float) -> None:
    sampler = FrameSampler(1, 10.0)
    times = [round(i / source_fps, 3) + 5 for i in range(round(20 * source_fps))]
    kept = [t for i, t in enumerate(times) if sampler.keeps(i, 0, t)]
    assert len(kept) == pytest.approx(200, abs=1)


def test_sampling_starts_anew_with_an_epoch() -> None:
    sampler = FrameSampler(1, 1.0)
    assert [sampler.keeps(i, 0, t) for i, t in enumerate((5.0, 5.5, 6.0, 6.2))] == [1, 0, 1, 0]
    assert [sampler.keeps(i, 1, t) for i, t in enumerate((0.1, 0.5, 1.1))] == [1, 0, 1]
    assert sampler.keeps(0, 1, 0.05)  # back in time without a new epoch
    assert [FrameSampler(3, None).keeps(i, 0, 0.0) for i in range(5)] == [1, 0, 0, 1, 0]


def test_pauses_double_up_to_the_limit_and_are_shortened_at_random() -> None:
    exact = Backoff(0.25, 1.0, 0.0, random.Random(1))
    assert [exact.next_s() for _ in range(4)] == [0.25, 0.5, 1.0, 1.0]
    exact.reset()
    assert exact.next_s() == 0.25
    pauses = [Backoff(1.0, 1.0, 0.5, random.Random(seed)).next_s() for seed in range(200)]
    assert min(pauses) >= 0.5
    assert max(pauses) <= 1.0
    assert max(pauses) - min(pauses) > 0.4
    same = [Backoff(1.0, 1.0, 0.5, random.Random(7)).next_s() for _ in range(2)]
    assert same[0] == same[1]
