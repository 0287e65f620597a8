"""Finds a font that has the letters of a label."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# File names of fonts, for Debian and its relatives, macOS and Windows. Pillow finds them in the
# system's folders.
EAST_ASIAN = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "STHeiti Light.ttc",
    "msyh.ttc",
)
_FIRST_EAST_ASIAN = "\u2e80"
"""The first of the characters that hold radicals, kana, hangul and ideographs."""


def font_for(text: str, height: int, path: str | None = None) -> Font:
    """Returns the font to write a text with.

    Pillow's own font has no East Asian letters. For these, a font of the system is used;
    ``make system`` installs one. Without it, the letters are drawn as boxes.

    Args:
        text: the text to write.
        height: height of the letters, in pixels.
        path: a TrueType font to use for any text; None: the choice above.

    Raises:
        OSError: ``path`` is not a font.
    """
    if path is None and max(text, default="") >= _FIRST_EAST_ASIAN:
        path = _first_installed()
    return _load(path, height)


@lru_cache(maxsize=16)
def _load(path: str | None, height: int) -> Font:
    return ImageFont.load_default(height) if path is None else ImageFont.truetype(path, height)


@lru_cache(maxsize=1)
def _first_installed() -> str | None:
    for name in EAST_ASIAN:
        try:
            ImageFont.truetype(name, 10)
        except OSError:
            continue
        return name
    return None
