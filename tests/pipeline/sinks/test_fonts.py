"""Labels can be read in both languages of the embedded checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from maskstream.pipeline.sinks.fonts import font_for


def drawn(text: str) -> bytes:
    mask = font_for(text, 40).getmask(text)
    return np.asarray(mask, np.uint8).tobytes() + bytes(str(mask.size), "ascii")


@pytest.mark.parametrize("letters", ["dog", "足球狗脸", "サッカー"])
def test_every_letter_looks_different(letters: str) -> None:
    # What a font lacks, it draws as the same box.
    assert len({drawn(letter) for letter in letters}) == len(set(letters))


def test_one_font_for_a_whole_label() -> None:
    assert font_for("0 足球 0.97", 20) is font_for("1 狗脸", 20)
    assert font_for("0 dog 0.97", 20) is font_for("", 20)
    assert font_for("dog", 20) is not font_for("狗", 20)


def test_what_is_no_font_is_told() -> None:
    with pytest.raises(OSError, match="resource"):
        font_for("dog", 20, "/no/such/font.ttf")
