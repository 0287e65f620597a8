from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training import textures
from training.outlines import blob_outline


@pytest.mark.parametrize(
    "pattern",
    [textures.gradient, textures.blotches, textures.stripes, textures.checks, textures.dots],
)
def test_patterns_use_the_whole_range(
    pattern: Callable[[np.random.Generator, tuple[int, int]], np.ndarray],
) -> None:
    for seed in range(5):
        share = pattern(np.random.default_rng(seed), (40, 60))
        assert share.shape == (40, 60)
        assert share.dtype == np.float32
        assert share.min() >= 0
        assert share.max() <= 1
        assert np.ptp(share) > 0.5


def test_blending() -> None:
    share = np.asarray([[0.0, 0.5, 1.0]], np.float32)
    mixed = textures.blend(share, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert mixed[0].tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]


def test_free_textures_differ_and_fit() -> None:
    made = [textures.free_texture(np.random.default_rng(seed)) for seed in range(20)]
    side = textures.TEXTURE_SIDE
    for texture in made:
        assert texture.shape == (side, side, 3)
        assert texture.min() > -0.2
        assert texture.max() < 1.2
    assert len({texture.tobytes() for texture in made}) == len(made)


def test_muted_textures_are_dull() -> None:
    for seed in range(20):
        texture = textures.muted_texture(np.random.default_rng(seed))
        assert np.ptp(texture, axis=2).max() < 0.15


def test_backdrops_fill_the_picture_and_hold_no_sharp_picture() -> None:
    for seed in range(40):
        backdrop = textures.paint_background(np.random.default_rng(seed), (60, 80))
        assert backdrop.shape == (60, 80, 3)
        assert backdrop.dtype == np.float32
        assert backdrop.min() >= 0
        assert backdrop.max() <= 256
        strongest = np.abs(np.diff(backdrop, axis=1)).max()
        assert strongest < 140


def test_blobs_are_closed_and_bounded() -> None:
    for seed in range(50):
        outline = blob_outline(np.random.default_rng(seed))
        reach = np.linalg.norm(outline, axis=1)
        assert reach.max() <= 1.25
        assert reach.min() > 0.05
        angles = np.unwrap(np.arctan2(outline[:, 1], outline[:, 0]))
        assert (np.diff(angles) > 0).all()
