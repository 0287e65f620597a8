from __future__ import annotations

import numpy as np
import pytest

from training.motion import Camera, Track
from training.names import KINDS, SHAPES
from training.outlines import OUTLINES
from training.scenes import ClipRenderer
from training.spec import UNNAMED, ClipSpec, Look, ObjectSpec, Split, Surface, make_clip
from training.vocabulary import COLORS, HELD_OUT, similar_kinds

SEEDS = range(30)
DOG = next(kind.number for kind in KINDS if kind.name == "dog face")


def still(radius: float = 0.15, x: float = 0.5, angle: float = 0.0) -> Track:
    return Track((x, 0.5), (0, 0), (0.1, 0.1), (0, 0), angle, 0.0, radius, 0.0)


def thing(
    kind: int, color: int, outline: str, surface: Surface, track: Track, obj_id: int = 0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> ObjectSpec:  # fmt: skip
    return ObjectSpec(obj_id, kind, color, outline, stretch, 0.0, surface, track)


def dog(track: Track, mirrored: bool = False) -> ObjectSpec:
    stretch = (-1.0 if mirrored else 1.0, 1.0)
    return thing(DOG, -1, "sprite", Surface("sprite"), track, stretch=stretch)


def clip(*things: ObjectSpec, look: Look | None = None, camera: Camera | None = None) -> ClipSpec:
    return ClipSpec(0, 1.0, 0, look or Look(), camera or Camera(), things)


def test_every_shape_can_be_drawn() -> None:
    assert set(SHAPES) <= set(OUTLINES)
    for color, shape in HELD_OUT:
        assert color in COLORS
        assert shape in SHAPES


@pytest.mark.parametrize("split", ["train", "validation"])
def test_held_out_pairs_are_never_drawn(split: Split) -> None:
    for seed in range(300):
        for one in make_clip(seed, split).objects:
            if one.color >= 0:
                assert (COLORS[one.color], SHAPES[one.kind]) not in HELD_OUT


def test_held_out_split_draws_held_out_pairs() -> None:
    drawn = {
        (COLORS[one.color], SHAPES[one.kind])
        for seed in range(150)
        for one in make_clip(seed, "held_out").objects
        if one.color >= 0
    }
    assert drawn & HELD_OUT


def test_clips_mix_emoji_shapes_and_nameless_things() -> None:
    kinds = [one.kind for seed in range(200) for one in make_clip(seed).objects if one.obj_id >= 0]
    emoji = sum(kind >= len(SHAPES) for kind in kinds) / len(kinds)
    nameless = kinds.count(UNNAMED) / len(kinds)
    assert 0.5 < emoji < 0.75
    assert 0.05 < nameless < 0.2
    named = [
        one
        for seed in range(100)
        for one in make_clip(seed, named_only=True).objects
        if one.obj_id >= 0
    ]
    assert all(one.kind != UNNAMED for one in named)


def test_crowds_hold_twins_and_look_alikes() -> None:
    twins = look_alikes = 0
    for seed in range(60):
        kinds = [one.kind for one in make_clip(seed, num_objects=(6, 9)).objects if one.kind >= 7]
        twins += len(set(kinds)) < len(kinds)
        look_alikes += any(other in kinds for kind in kinds for other in similar_kinds(kind))
    assert twins > 20
    assert look_alikes > 15


def test_equal_seeds_give_equal_frames_and_splits_differ() -> None:
    first = ClipRenderer(make_clip(3), (64, 64)).frame(17)
    again = ClipRenderer(make_clip(3), (64, 64)).frame(17)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.visible, again.visible)
    assert make_clip(3) != make_clip(3, "validation")
    assert make_clip(3) != make_clip(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_share_no_pixel_and_stay_within_the_whole_thing(seed: int) -> None:
    spec = make_clip(seed)
    frame = ClipRenderer(spec, (96, 96)).frame(seed * 5)
    assert frame.image.shape == (96, 96, 3)
    assert frame.visible.sum(0).max(initial=0) <= 1 + 1e-5
    assert (frame.visible.sum((1, 2)) <= frame.amodal_area + 1e-3).all()
    assert frame.masks.shape == (len(frame.obj_ids), 96, 96)
    assert frame.obj_ids.tolist() == list(range(len(frame.obj_ids)))
    by_id = {one.obj_id: one for one in spec.objects}
    assert frame.kinds.tolist() == [by_id[i].kind for i in frame.obj_ids.tolist()]
    assert frame.colors.tolist() == [by_id[i].color for i in frame.obj_ids.tolist()]


@pytest.mark.parametrize("seed", range(60))
def test_pixels_under_a_mask_show_the_objects_color(seed: int) -> None:
    spec = make_clip(seed, num_objects=(3, 6))
    frame = ClipRenderer(spec, (128, 128)).frame(30)
    things = {one.obj_id: one for one in spec.objects if one.obj_id >= 0}
    gain = np.asarray(spec.look.gain)
    for obj_id, visible in zip(frame.obj_ids, frame.visible, strict=True):
        one, inside = things[int(obj_id)], visible > 0.999
        if one.color < 0 or inside.sum() < 40:
            continue
        shown = frame.image[inside].astype(np.float64).mean(0)
        wanted = np.asarray(one.surface.rgb) ** spec.look.gamma * gain * 255
        # Shade, pattern, falling light and blur at the edge change the brightness, not the hue.
        strength = shown.sum() / wanted.sum()
        assert 0.55 < strength < 1.25
        assert np.abs(shown - wanted * strength).max() < 0.13 * 255


def test_a_sprite_stands_where_its_track_says() -> None:
    frame = ClipRenderer(clip(dog(still(x=0.3))), (200, 200)).frame(0)
    rows, columns = np.nonzero(frame.masks[0])
    assert columns.mean() == pytest.approx(60, abs=4)
    assert rows.mean() == pytest.approx(100, abs=6)
    assert max(np.ptp(columns), np.ptp(rows)) == pytest.approx(60, abs=3)


def test_a_mirrored_sprite_is_the_mirror_image() -> None:
    plain, other = (
        ClipRenderer(clip(dog(still(), mirrored)), (128, 128)).frame(0).visible[0]
        for mirrored in (False, True)
    )
    assert np.abs(plain - other[:, ::-1]).mean() < 0.002
    assert np.abs(plain - other).mean() > 0.002


def test_a_turned_sprite_covers_as_much() -> None:
    areas = [
        ClipRenderer(clip(dog(still(angle=angle))), (128, 128)).frame(0).amodal_area[0]
        for angle in (0.0, 0.4, 2.0)
    ]
    assert areas == pytest.approx([areas[0]] * 3, rel=0.02)


def test_what_comes_later_lies_above() -> None:
    rgb = (1.0, 0.0, 0.0)
    square = thing(1, 0, "square", Surface("plain", rgb=rgb), still(0.25), obj_id=1)
    frame = ClipRenderer(clip(dog(still(0.1)), square), (64, 64)).frame(0)
    assert frame.visible[0].sum() == pytest.approx(0, abs=0.01)
    assert frame.amodal_area[0] > 50
    assert frame.image[32, 32].tolist() == [255, 0, 0]
    other_way = ClipRenderer(clip(square, dog(still(0.1))), (64, 64)).frame(0)
    assert other_way.visible[0].sum() > 50


def test_the_camera_moves_things_and_backdrop_together() -> None:
    camera = Camera(pan=(0.1, 0.0), zoom=0.0, omega=np.pi / 2, phase=0.0)
    spec = ClipSpec(0, 1.0, 5, Look(), camera, (dog(still(0.1, x=0.4)),))
    renderer = ClipRenderer(spec, (100, 100))
    before, after = renderer.frame(0), renderer.frame(1)
    moved = np.nonzero(after.masks[0])[1].mean() - np.nonzero(before.masks[0])[1].mean()
    assert moved == pytest.approx(10, abs=0.5)
    same = np.abs(after.image[:20, 10:].astype(int) - before.image[:20, :-10].astype(int)).mean()
    unmoved = np.abs(after.image[:20].astype(int) - before.image[:20].astype(int)).mean()
    assert same < 1
    assert unmoved > same


@pytest.mark.parametrize(
    "look",
    [Look(noise=8.0), Look(blur=0.01), Look(quality=40), Look(gamma=1.3), Look(falloff=(0.4, 1.0))],
)
def test_looks_change_the_picture_and_not_the_truth(look: Look) -> None:
    plain = ClipRenderer(clip(dog(still())), (96, 96)).frame(0)
    other = ClipRenderer(clip(dog(still()), look=look), (96, 96)).frame(0)
    assert not np.array_equal(plain.image, other.image)
    assert np.array_equal(plain.visible, other.visible)
    assert np.abs(plain.image.astype(int) - other.image.astype(int)).mean() < 30


def test_a_family_pattern_keeps_the_hue() -> None:
    rgb = (0.2, 0.4, 1.0)
    for seed in range(12):
        one = thing(0, 5, "circle", Surface("family", rgb=rgb, seed=seed), still(0.3))
        frame = ClipRenderer(clip(one), (96, 96)).frame(0)
        pixels = frame.image[frame.visible[0] > 0.999].astype(float)
        assert pixels[:, 0] == pytest.approx(pixels[:, 2] * 0.2, abs=3)
        assert pixels[:, 2].min() >= 0.6 * 255


def test_size_of_the_picture_does_not_move_the_objects() -> None:
    spec = make_clip(5, aspect=1.0)
    large = ClipRenderer(spec, (256, 256)).frame(8).visible
    small = ClipRenderer(spec, (64, 64)).frame(8).visible
    shrunk = large.reshape(len(large), 64, 4, 64, 4).mean((2, 4))
    assert np.abs(shrunk - small).mean() < 0.004


def test_areas_are_those_of_the_frame() -> None:
    renderer = ClipRenderer(make_clip(12, num_objects=(5, 8)), (80, 80))
    frame, (visible, amodal) = renderer.frame(9), renderer.areas(9)
    assert visible == pytest.approx(frame.visible.sum((1, 2)))
    assert amodal == pytest.approx(frame.amodal_area)
    assert (visible < amodal - 1).any()


def test_things_inside_are_counted() -> None:
    spec = clip(dog(still(x=0.5)), dog(still(x=1.2)))
    assert spec.num_inside(0) == 1


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
