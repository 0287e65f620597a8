"""Words for one thing lie near each other."""

from __future__ import annotations

import pytest

from maskstream.core.errors import PromptError
from maskstream.detector.build import Sam3ImageModel
from maskstream.pipeline.archive.embedding import embed_text
from maskstream.pipeline.compat.builders import build_sam3_image_model


@pytest.fixture(scope="module")
def model() -> Sam3ImageModel:
    return build_sam3_image_model(checkpoint_path="tiny", device="cpu")


def similarity(model: Sam3ImageModel, one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed_text(model, one), embed_text(model, other), strict=True))


def test_one_thing_in_two_languages_is_near(model: Sam3ImageModel) -> None:
    assert similarity(model, "soccer ball", "足球") > 0.8
    assert similarity(model, "dog", "狗") > 0.8


def test_a_word_in_common_is_not_enough(model: Sam3ImageModel) -> None:
    assert similarity(model, "dog", "dog face") > similarity(model, "red car", "red circle") + 0.1


def test_vectors_have_unit_length(model: Sam3ImageModel) -> None:
    assert similarity(model, "red circle", "red circle") == pytest.approx(1)


def test_an_empty_text_has_no_embedding(model: Sam3ImageModel) -> None:
    with pytest.raises(PromptError):
        embed_text(model, " ")
