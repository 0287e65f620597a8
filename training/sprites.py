"""Emoji as small pictures, drawn once by Pillow and kept at several sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from maskstream.core.errors import ConfigError

FONT_FILE = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
# The only size that the font holds bitmaps of.
FONT_SIZE = 109
NUM_LEVELS = 4
_CANVAS = 176
_MARGIN = 2


@dataclass(frozen=True, slots=True)
class Sprite:
    """An emoji, cut out along what is visible of it.

    Attributes:
        levels: RGBA float32 pictures in [0, 1], colours not multiplied by alpha; each next one
            half as large.
        half: half its width and height when the longer one is 2.
    """

    levels: tuple[npt.NDArray[np.float32], ...]
    half: tuple[float, float]

    def level_for(self, side: float) -> npt.NDArray[np.float32]:
        """The smallest picture whose longer side has at least ``side`` pixels, or the largest."""
        fitting = [level for level in self.levels if max(level.shape[:2]) >= side]
        return fitting[-1] if fitting else self.levels[0]


@cache
def _font() -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(str(FONT_FILE), FONT_SIZE)
    except OSError as problem:
        raise ConfigError(
            f"cannot read {FONT_FILE}; install the font, package fonts-noto-color-emoji on Debian"
        ) from problem


@cache
def sprite(character: str) -> Sprite:
    """The sprite of an emoji.

    Raises:
        ConfigError: the font is not installed, or does not hold the character.
    """
    canvas = Image.new("RGBA", (_CANVAS, _CANVAS))
    ImageDraw.Draw(canvas).text((16, 16), character, font=_font(), embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None:
        raise ConfigError(f"{FONT_FILE} has no picture of {character!r}; a newer font may have")
    picture = np.asarray(canvas.crop(box), dtype=np.float32) / 255.0
    return Sprite(_levels(picture), _halves(picture.shape[1], picture.shape[0]))


def _halves(width: int, height: int) -> tuple[float, float]:
    longer = max(width, height)
    # The margin belongs to the picture, so that its edge fades.
    return _padded_size(width) / longer, _padded_size(height) / longer


def _padded_size(size: int) -> int:
    unit = 1 << (NUM_LEVELS - 1)
    return math.ceil((size + 2 * _MARGIN) / unit) * unit


def _levels(picture: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
    height, width = picture.shape[:2]
    extra = (_padded_size(height) - height, _padded_size(width) - width)
    around = [(size // 2, size - size // 2) for size in extra]
    level = np.pad(picture, [*around, (0, 0)])
    level[..., :3] *= level[..., 3:]
    levels = [level]
    for _ in range(NUM_LEVELS - 1):
        tall, wide = level.shape[0] // 2, level.shape[1] // 2
        level = level.reshape(tall, 2, wide, 2, 4).mean((1, 3))
        levels.append(level)
    return tuple(_straight(level) for level in levels)


def _straight(level: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Colours divided by alpha."""
    alpha = np.maximum(level[..., 3:], 1e-4)
    return np.concatenate([level[..., :3] / alpha, level[..., 3:]], 2).astype(np.float32)


def color_matrix(hue: float, saturation: float) -> npt.NDArray[np.float32]:
    """(3, 3) turn of RGB about the grey axis by ``hue`` radians, stretched away from it."""
    cosine, third = math.cos(hue), 1.0 / 3.0
    side = math.sqrt(third) * math.sin(hue)
    same = cosine + (1 - cosine) * third
    plus, minus = (1 - cosine) * third + side, (1 - cosine) * third - side
    turn = np.asarray([[same, minus, plus], [plus, same, minus], [minus, plus, same]])
    grey = np.full((3, 3), third)
    matrix: npt.NDArray[np.float32] = (grey + saturation * (turn - grey)).astype(np.float32)
    return matrix


def tinted(
    level: npt.NDArray[np.float32],
    matrix: npt.NDArray[np.float32],
    gain: float,
    contrast: float,
) -> Image.Image:
    """A level with its colours changed, as a picture of RGB multiplied by alpha and alpha."""
    color = (level[..., :3] @ matrix.T - 0.5) * contrast + 0.5
    color = np.clip(color * gain, 0, 1) * level[..., 3:]
    pixels = np.concatenate([color, level[..., 3:]], 2) * 255.0 + 0.5
    height, width = level.shape[:2]
    # "RGBa" is what Pillow calls multiplied colours; they can be interpolated as they are.
    return Image.frombytes("RGBa", (width, height), pixels.astype(np.uint8).tobytes())
