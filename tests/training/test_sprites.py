from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from maskstream.core.errors import ConfigError
from training import sprites
from training.sprites import color_matrix, sprite, tinted


def test_levels_halve_and_fade_at_the_edge() -> None:
    levels = sprite("🐶").levels
    assert len(levels) == sprites.NUM_LEVELS
    for level, half in itertools.pairwise(levels):
        assert level.shape == (half.shape[0] * 2, half.shape[1] * 2, 4)
    edge = levels[0][..., 3].copy()
    edge[1:-1, 1:-1] = 0
    assert edge.max() == 0
    assert levels[0][..., 3].max() == 1


def test_the_level_is_the_smallest_that_is_large_enough() -> None:
    made = sprite("🐶")
    sides = [max(level.shape[:2]) for level in made.levels]
    assert max(made.level_for(sides[2]).shape[:2]) == sides[2]
    assert max(made.level_for(sides[2] + 1).shape[:2]) == sides[1]
    assert max(made.level_for(10_000).shape[:2]) == sides[0]


def test_the_longer_side_spans_two() -> None:
    tall = sprite("🍾")
    wide = sprite("🚌")
    for made in (tall, wide):
        rows, columns = np.nonzero(made.levels[0][..., 3])
        height, width = made.levels[0].shape[:2]
        spans = (np.ptp(columns) + 1) / width, (np.ptp(rows) + 1) / height
        assert max(2 * half * span for half, span in zip(made.half, spans, strict=True)) == (
            pytest.approx(2.0, abs=0.02)
        )


def test_turning_hues() -> None:
    red = np.asarray([1.0, 0.0, 0.0])
    assert color_matrix(0.0, 1.0) @ red == pytest.approx([1, 0, 0], abs=1e-6)
    assert color_matrix(2 * math.pi / 3, 1.0) @ red == pytest.approx([0, 1, 0], abs=1e-6)
    assert color_matrix(1.0, 0.0) @ red == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_colors_are_multiplied_by_alpha() -> None:
    level = np.zeros((8, 8, 4), np.float32)
    level[...] = (1.0, 0.5, 0.0, 0.5)
    pixels = np.asarray(tinted(level, color_matrix(0.0, 1.0), 1.0, 1.0))
    assert pixels[3, 3].tolist() == pytest.approx([128, 64, 0, 128], abs=1)
    darker = np.asarray(tinted(level, color_matrix(0.0, 1.0), 0.5, 1.0))
    assert darker[3, 3].tolist() == pytest.approx([64, 32, 0, 128], abs=1)


def test_missing_pictures_and_fonts_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no picture of 'a'"):
        sprite("a")
    monkeypatch.setattr(sprites, "FONT_FILE", tmp_path / "none.ttf")
    sprites._font.cache_clear()
    with pytest.raises(ConfigError, match="fonts-noto-color-emoji"):
        sprites.sprite.__wrapped__("🐶")
    sprites._font.cache_clear()
