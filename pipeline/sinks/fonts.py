"""Chooses the fonts of a label, letter by letter, so that every letter can be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import groupby

from PIL import ImageFont

# They come with the package: letters of most alphabets with signs and digits, Chinese and Japanese,
# Hangul, emoji. packaging/fonts/build.py says what is in each.
BUNDLED = ("label-letters.ttf", "label-east-asian.ttf", "label-korean.ttf", "label-emoji.ttf")
_MISSING = "?"
_NO_CHARACTER = "\U0010ffff"
"""Not a character, so every font draws for it what it draws for one that it lacks."""
_CHECKED_HEIGHT = 24
_FIRST_FLAG_LETTER = 0x1F1E6
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, slots=True)
class Run:
    """Letters that are written with one font."""

    text: str
    font: ImageFont.FreeTypeFont


def font_runs(text: str, height: int, path: str | None = None) -> list[Run]:
    """Divide a text into parts that one font has all letters of.

    What cannot be seen is left out (joiners, variation selectors), and so are the skin tones of
    emoji; flags become the two letters of their country. A letter that no font has becomes "?".

    Args:
        text: the text to write.
        height: height of the letters, in pixels.
        path: a TrueType font that is asked first; None: the fonts of the package alone.

    Raises:
        OSError: ``path`` is not a font.
    """
    names = BUNDLED if path is None else (path, *BUNDLED)
    chosen = [_chosen(letter, names) for letter in _visible(text)]
    return [
        Run("".join(letter for letter, _ in group), _load(name, height))
        for name, group in groupby(chosen, key=lambda pair: pair[1])
    ]


def _chosen(letter: str, names: tuple[str, ...]) -> tuple[str, str]:
    """What to write for a letter, and the font that has it."""
    for name in names:
        if _has(name, letter):
            return letter, name
    is_accent = unicodedata.category(letter).startswith("M")
    return "" if is_accent else _MISSING, BUNDLED[0]


def _visible(text: str) -> Iterator[str]:
    # Composed letters are in more fonts than accents that combine with others.
    for letter in unicodedata.normalize("NFC", text):
        number, category = ord(letter), unicodedata.category(letter)
        if letter.isspace():
            yield " " if letter != "\u3000" else letter
        elif 0 <= number - _FIRST_FLAG_LETTER < 26:
            yield chr(ord("A") + number - _FIRST_FLAG_LETTER)
        elif category not in ("Cc", "Cf") and number not in _SKIN_TONES and not _selects(number):
            yield letter


def _selects(number: int) -> bool:
    """Whether it is a variation selector, which chooses between forms of the letter before it."""
    return 0xFE00 <= number <= 0xFE0F or 0xE0100 <= number <= 0xE01EF


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    return _drawn(name, letter) != _drawn(name, _NO_CHARACTER)


def _drawn(name: str, letter: str) -> tuple[tuple[int, int], bytes]:
    # Without the shaping of Raqm, which draws more than the letter where one is missing.
    mask = _load(name, _CHECKED_HEIGHT, ImageFont.Layout.BASIC).getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _load(name: str, height: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    path = files("maskstream.pipeline").joinpath("assets", name) if name in BUNDLED else name
    return ImageFont.truetype(str(path), height, layout_engine=layout)
