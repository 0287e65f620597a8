"""Labels can be read in many languages, with the fonts that come with the package."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import ImageFont

from maskstream.pipeline.sinks.fonts import BUNDLED, font_runs
from maskstream.pipeline.sinks.labels import label_picture


def drawn(letter: str) -> bytes:
    (run,) = font_runs(letter, 40)
    mask = run.font.getmask(run.text)
    return np.asarray(mask, np.uint8).tobytes() + bytes(str(mask.size), "ascii")


def written(text: str, path: str | None = None) -> str:
    return "".join(run.text for run in font_runs(text, 20, path))


@pytest.mark.parametrize(
    "letters",
    [
        "dog 0123456789.:-",
        "éàüßñøçžŁğ",
        "Приветмяч",
        "Ελάδαώ",
        "足球狗脸汉语",
        "漢字繁體龍",
        "サッカーぼる犬",
        "축구공개",
        "🐶⚽🍕✈🚗😀🌍",
        "½→≤€…–",
    ],
)
def test_every_letter_looks_different_and_is_not_a_box(letters: str) -> None:
    # What a font lacks, it draws as the same box.
    looks = {drawn(letter) for letter in letters}
    boxes = {
        np.asarray(mask, np.uint8).tobytes() + bytes(str(mask.size), "ascii")
        for mask in (drawn_missing(name) for name in BUNDLED)
    }
    assert len(looks) == len(set(letters))
    assert not looks & boxes
    assert written(letters) == letters


def drawn_missing(name: str) -> ImageFont.ImagingCore:
    (path,) = (Path(__file__).parents[3] / "pipeline" / "assets").glob(name)
    return ImageFont.truetype(str(path), 40).getmask("\U0010ffff")


@pytest.mark.parametrize("encoding", ["gb2312", "euc_jp", "euc_kr"])
def test_all_that_an_encoding_of_east_asia_holds(encoding: str) -> None:
    pairs = (bytes((a, b)) for a in range(0xB0, 0xF5) for b in range(0xA1, 0xFF))
    text = normalize("NFC", "".join(pair.decode(encoding, "ignore") for pair in pairs))
    assert len(text) > 5000
    assert written(text) == text


def test_a_label_is_divided_where_the_font_changes() -> None:
    texts = [run.text for run in font_runs("0 足球 0.97", 20)]
    assert texts == ["0 ", "足球", " 0.97"]
    assert len({id(run.font) for run in font_runs("dog 狗 dog", 20)}) == 2


def test_what_cannot_be_drawn_alone() -> None:
    assert written("e\u0301") == "é"
    assert written("👨\u200d👩\u200d👧 ❤\ufe0f") == "👨👩👧 ❤"
    assert written("👍🏽🇩🇪") == "👍DE"
    assert written("a\tb\nc\x00") == "a b c"
    assert written("\u0e01\u0e02\u0e31") == "??"  # Thai: two letters and a vowel sign


def test_a_font_of_ones_own_comes_first_and_lacks_nothing() -> None:
    (own,) = (Path(__file__).parents[3] / "pipeline" / "assets").glob("label-emoji.ttf")
    runs = font_runs("dog ⚽ 足球 5", 20, str(own))
    assert "".join(run.text for run in runs) == "dog ⚽ 足球 5"
    assert label_picture("dog ⚽ 足球 5", (0, 0, 0), 20, str(own)).any()


def test_what_is_no_font_is_told() -> None:
    with pytest.raises(OSError, match="resource"):
        font_runs("dog", 20, "/no/such/font.ttf")
