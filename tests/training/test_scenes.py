from __future__ import annotations

import numpy as np
import pytest

from training.scenes import OUTLINES, ClipRenderer, Split, make_clip
from training.vocabulary import COLORS, HELD_OUT, SHAPES

SEEDS = range(40)


def test_vocabulary_is_rich_enough_and_every_shape_can_be_drawn() -> None:
    assert len(SHAPES) >= 6
    assert len(COLORS) >= 6
    assert set(SHAPES) <= set(OUTLINES)
    for color, shape in HELD_OUT:
        assert color in COLORS
        assert shape in SHAPES


@pytest.mark.parametrize("split", ["train", "validation"])
def test_held_out_pairs_are_never_drawn(split: Split) -> None:
    for seed in range(300):
        drawn = {(thing.color, thing.shape) for thing in make_clip(seed, split).objects}
        assert not drawn & HELD_OUT


def test_held_out_split_draws_held_out_pairs() -> None:
    drawn = {(t.color, t.shape) for s in range(60) for t in make_clip(s, "held_out").objects}
    assert drawn & HELD_OUT


def test_equal_seeds_give_equal_frames_and_splits_differ() -> None:
    first = ClipRenderer(make_clip(3), (64, 64)).frame(17)
    again = ClipRenderer(make_clip(3), (64, 64)).frame(17)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.visible, again.visible)
    assert make_clip(3) != make_clip(3, "validation")
    assert make_clip(3) != make_clip(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_share_no_pixel_and_stay_within_the_whole_shape(seed: int) -> None:
    frame = ClipRenderer(make_clip(seed), (96, 96)).frame(seed * 5)
    assert frame.visible.sum(0).max(initial=0) <= 1 + 1e-5
    assert (frame.visible.sum((1, 2)) <= frame.amodal_area + 1e-3).all()
    assert frame.masks.shape == (len(frame.obj_ids), 96, 96)
    assert frame.obj_ids.tolist() == list(range(len(frame.obj_ids)))


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_under_a_mask_show_the_objects_color(seed: int) -> None:
    spec = make_clip(seed)
    frame = ClipRenderer(spec, (128, 128)).frame(30)
    things = {thing.obj_id: thing for thing in spec.objects if thing.obj_id >= 0}
    for obj_id, visible in zip(frame.obj_ids, frame.visible, strict=True):
        inside = visible > 0.999
        if inside.sum() < 20:
            continue
        shown = frame.image[inside].astype(np.float64).mean(0)
        thing = things[int(obj_id)]
        wanted = np.asarray(thing.rgb) * 255 * (1 - 0.5 * thing.shade)
        # Shade and noise move the mean, but not by more than this.
        assert np.abs(shown - wanted).max() < 0.1 * 255 + 5


def test_size_of_the_picture_does_not_move_the_objects() -> None:
    spec = make_clip(5, aspect=1.0)
    large = ClipRenderer(spec, (256, 256)).frame(8).visible
    small = ClipRenderer(spec, (64, 64)).frame(8).visible
    shrunk = large.reshape(len(large), 64, 4, 64, 4).mean((2, 4))
    assert np.abs(shrunk - small).mean() < 0.004


def test_clips_hold_hiding_and_returning_objects() -> None:
    returns = 0
    for seed in range(25):
        renderer = ClipRenderer(make_clip(seed, num_objects=(5, 9)), (48, 48), supersample=2)
        seen = np.stack([renderer.frame(i).visible.sum((1, 2)) > 2 for i in range(0, 240, 8)])
        for column in seen.T:
            if column[0]:
                gone = np.flatnonzero(~column)
                returns += bool(len(gone) and column[gone[0] :].any())
    assert returns >= 5
