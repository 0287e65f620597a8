"""Fonts that can write a label."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# File names, which Pillow looks for where the system keeps its fonts: Debian and its like, macOS,
# Windows.
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
"""Radicals, kana, hangul and ideographs come from here on."""


def font_for(text: str, height: int, path: str | None = None) -> Font:
    """The font to write a text with.

    Pillow's own font has no East Asian letters. For them one of the system's is taken, if it has
    one (``make system`` sees to that); without, they become boxes.

    Args:
        text: what is to be written.
        height: of the letters, pixels.
        path: a TrueType font that is to be taken whatever the text is.

    Raises:
        OSError: ``path`` is no font.
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
