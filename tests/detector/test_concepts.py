"""Texts are encoded once, remembered within bounds, and batch without changing each other."""

from __future__ import annotations

import pytest
import torch

from maskstream.core.errors import PromptError
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.concepts import ConceptEncoder


@torch.inference_mode()
def test_a_text_does_not_depend_on_its_neighbours(model: Sam3ImageModel) -> None:
    texts = ["red circle", "a rather long description of a blue square", "star"]
    together = ConceptEncoder(model, model.tokenizer).encode_texts(texts)
    for row, text in enumerate(texts):
        alone = ConceptEncoder(model, model.tokenizer).encode_texts([text])
        valid = together.valid[row]
        assert int(valid.sum()) == alone.tokens.shape[1]
        torch.testing.assert_close(together.tokens[row][valid], alone.tokens[0])


@torch.inference_mode()
def test_known_texts_are_not_encoded_again(
    model: Sam3ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = ConceptEncoder(model, model.tokenizer)
    first = encoder.encode_texts(["red circle", "star"])

    def must_not_run(*_: object) -> None:
        pytest.fail("a known text was encoded again")

    monkeypatch.setattr(type(model), "encode_text", must_not_run)
    again = encoder.encode_texts(["star", "red circle", "star"])
    assert torch.equal(again.tokens[1][again.valid[1]], first.tokens[0][first.valid[0]])


@torch.inference_mode()
def test_the_cache_is_bounded_and_forgets_the_oldest(model: Sam3ImageModel) -> None:
    encoder = ConceptEncoder(model, model.tokenizer, cache_size=2)
    encoder.encode_texts(["one", "two"])
    encoder.encode_texts(["one"])
    encoder.encode_texts(["three"])
    assert list(encoder._cache) == ["one", "three"]


@torch.inference_mode()
def test_a_bad_text_spoils_nothing(model: Sam3ImageModel) -> None:
    encoder = ConceptEncoder(model, model.tokenizer)
    with pytest.raises(PromptError):
        encoder.encode_texts(["star", ""])
    assert encoder.encode_texts(["star"]).tokens.shape[0] == 1
