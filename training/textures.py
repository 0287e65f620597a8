"""Surfaces of things and backdrops."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.names import KINDS
from training.sprites import color_matrix, sprite, tinted

FloatArray = npt.NDArray[np.float32]
Color = tuple[float, float, float]

TEXTURE_SIDE = 96
_EMOJI = tuple(kind.character for kind in KINDS if kind.character is not None)


def _axes(size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    down = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]
    across = np.linspace(0, 1, size[1], dtype=np.float32)[None]
    return down, across


def gradient(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A ramp in a random direction; this and the next four are (H, W) in [0, 1]."""
    down, across = _axes(size)
    turn = rng.uniform(0, math.tau)
    slope = (across - 0.5) * math.cos(turn) + (down - 0.5) * math.sin(turn)
    return np.clip(slope + 0.5, 0, 1).astype(np.float32)


def blotches(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Smooth noise."""
    cells = int(rng.integers(3, 14))
    coarse = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
    smooth = coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / 255.0


def stripes(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Parallel bands with soft edges."""
    down, across = _axes(size)
    turn, waves = rng.uniform(0, math.tau), rng.uniform(2, 10)
    wave = np.sin((across * math.cos(turn) + down * math.sin(turn)) * waves * math.tau)
    bands: FloatArray = (np.clip(wave * 4, -1, 1) * 0.5 + 0.5).astype(np.float32)
    return bands


def checks(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A chessboard."""
    down, across = _axes(size)
    cells = int(rng.integers(3, 12))
    odd = (np.floor(across * cells) + np.floor(down * cells)) % 2
    return odd.astype(np.float32)


def dots(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Discs on a grid."""
    down, across = _axes(size)
    cells = float(rng.uniform(3, 9))
    radius = float(rng.uniform(0.2, 0.4))
    x, y = across * cells % 1 - 0.5, down * cells % 1 - 0.5
    discs: FloatArray = np.clip((radius - np.sqrt(x * x + y * y)) * 8 + 0.5, 0, 1)
    return discs.astype(np.float32)


_PATTERNS: tuple[Callable[[np.random.Generator, tuple[int, int]], FloatArray], ...] = (
    gradient, blotches, stripes, checks, dots,
)  # fmt: skip


def blend(share: FloatArray, first: Color, second: Color) -> FloatArray:
    """(H, W, 3) from the first colour where ``share`` is 0 to the second where it is 1."""
    low, high = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return low + share[..., None] * (high - low)


def any_color(rng: np.random.Generator) -> Color:
    """A colour of any hue, RGB in [0, 1]."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 1.0), rng.uniform(0.15, 1.0))


def muted_color(rng: np.random.Generator, lightest: float = 0.66) -> Color:
    """A dull and rather dark colour."""
    level = rng.uniform(0.05, lightest)
    red, green, blue = (level + rng.uniform(-0.06, 0.06, 3)).clip(0, 1)
    return float(red), float(green), float(blue)


def darker(color: Color, factor: float) -> Color:
    """The same hue at a share of its brightness."""
    return color[0] * factor, color[1] * factor, color[2] * factor


def family_texture(rng: np.random.Generator, color: Color) -> FloatArray:
    """A pattern of one colour and a somewhat darker one, so that its name stays true."""
    pattern = _PATTERNS[int(rng.choice([0, 1, 2, 4]))]
    size = (TEXTURE_SIDE, TEXTURE_SIDE)
    return blend(pattern(rng, size), color, darker(color, float(rng.uniform(0.66, 0.85))))


def muted_texture(rng: np.random.Generator) -> FloatArray:
    """A dull pattern, for what only hides things."""
    pattern = _PATTERNS[int(rng.integers(0, len(_PATTERNS)))]
    first, second = muted_color(rng), muted_color(rng)
    return blend(pattern(rng, (TEXTURE_SIDE, TEXTURE_SIDE)), first, second)


def free_texture(rng: np.random.Generator) -> FloatArray:
    """A pattern of any colours, noise, or cuttings of emoji; (S, S, 3) in [0, 1]."""
    size = (TEXTURE_SIDE, TEXTURE_SIDE)
    roll = rng.random()
    if roll < 0.3:
        return cuttings(rng)
    if roll < 0.5:
        cells = int(rng.integers(3, 20))
        coarse = Image.fromarray((rng.random((cells, cells, 3)) * 255).astype(np.uint8))
        smooth = coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float32) / 255.0
    pattern = _PATTERNS[int(rng.integers(0, len(_PATTERNS)))]
    texture = blend(pattern(rng, size), any_color(rng), any_color(rng))
    if rng.random() < 0.4:
        other = _PATTERNS[int(rng.integers(0, len(_PATTERNS)))](rng, size)[..., None]
        texture += other * (np.asarray(any_color(rng), np.float32) - texture) * 0.7
    return texture


def cuttings(rng: np.random.Generator) -> FloatArray:
    """Enlarged middles of four emoji with their colours swapped: rich, yet nothing to name."""
    half = TEXTURE_SIDE // 2
    tiles = []
    for _ in range(4):
        level = sprite(_EMOJI[int(rng.integers(0, len(_EMOJI)))]).levels[1]
        height, width = level.shape[:2]
        top, left = int(height * rng.uniform(0.2, 0.45)), int(width * rng.uniform(0.2, 0.45))
        cut = level[top : top + height // 3, left : left + width // 3]
        ground = np.asarray(any_color(rng), np.float32)
        flat = (ground + cut[..., 3:] * (cut[..., :3] - ground))[..., rng.permutation(3)]
        tile = Image.fromarray((flat.clip(0, 1) * 255).astype(np.uint8))
        large = tile.resize((half, half), Image.Resampling.BICUBIC)
        tiles.append(np.asarray(large, dtype=np.float32) / 255.0)
    return np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)], 0)


def paint_background(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A backdrop, (H, W, 3) float32 in 0..255: dull patterns, coloured ones or blurred collages."""
    roll = rng.random()
    if roll < 0.45:
        return _dull(rng, size) * 255.0
    if roll < 0.8:
        return _colorful(rng, size) * 255.0
    return _collage(rng, size) * 255.0


def _dull(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    lightest = 0.66 if rng.random() < 0.6 else 0.88
    first, second = muted_color(rng, lightest), muted_color(rng, lightest)
    style = int(rng.integers(0, 6))
    if style == 5:
        return blend(np.zeros(size, np.float32), first, second)
    strength = 1.0 if style < 2 else 0.4
    return blend(_PATTERNS[style](rng, size) * strength, first, second)


def _colorful(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Two layers of pale or dark colours; patterns with edges are kept faint."""
    level = float(rng.uniform(0.3, 0.95))

    def color() -> Color:
        strength = rng.uniform(0.1, 0.6)
        return colorsys.hsv_to_rgb(rng.random(), strength, level * rng.uniform(0.7, 1.0))

    painted = blend(_PATTERNS[int(rng.integers(0, 2))](rng, size), color(), color())
    if rng.random() < 0.6:
        share = _PATTERNS[int(rng.integers(1, len(_PATTERNS)))](rng, size) * rng.uniform(0.15, 0.5)
        painted += share[..., None].astype(np.float32) * (np.asarray(color(), np.float32) - painted)
    if rng.random() < 0.4:
        grain = rng.normal(0, rng.uniform(0.01, 0.05), (size[0] // 2 + 1, size[1] // 2 + 1, 1))
        coarse = np.repeat(np.repeat(grain, 2, 0), 2, 1)[: size[0], : size[1]]
        painted += coarse.astype(np.float32)
    return painted.clip(0, 1)


def _collage(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Emoji out of focus: full of colours, but nothing can be told apart."""
    low = (max(size[0] // 18, 6), max(size[1] // 18, 6))
    large = Image.fromarray((_colorful(rng, (low[0] * 4, low[1] * 4)) * 255).astype(np.uint8))
    identity = color_matrix(0.0, 1.0)
    for _ in range(int(rng.integers(8, 24))):
        level = sprite(_EMOJI[int(rng.integers(0, len(_EMOJI)))]).levels[2]
        picture = tinted(level, identity, 1.0, 1.0).convert("RGBA")
        side = int(max(large.size) * rng.uniform(0.12, 0.4))
        scaled = picture.resize((side, side), Image.Resampling.BILINEAR)
        place = tuple(int(rng.integers(-side // 2, length)) for length in large.size)
        large.paste(scaled, (place[0], place[1]), scaled)
    small = large.resize((low[1], low[0]), Image.Resampling.BOX)
    smooth = small.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth, dtype=np.float32) / 255.0
    ground = pixels.mean((0, 1))
    contrast, light = rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.9)
    painted: FloatArray = ((ground + (pixels - ground) * contrast) * light).astype(np.float32)
    return painted
