"""Words and exemplars of many concepts, made ready for one pass of the detector."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from maskstream.detector.model import Detector
from maskstream.detector.prompts import (
    ConceptBatch,
    Exemplar,
    PromptTokens,
    batch_exemplars,
    pad_tokens,
)
from maskstream.detector.tokenizer import Tokenizer

EXEMPLAR_ONLY_TEXT = "visual"
"""What stands in for the words of a concept that is only shown; the model was trained so."""


class ConceptEncoder:
    """Encodes concepts and remembers the texts it has seen.

    Args:
        cache_size: how many texts are remembered; the one unused longest is forgotten first.
    """

    def __init__(self, model: Detector, tokenizer: Tokenizer, cache_size: int = 1024) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def encode_texts(self, texts: Sequence[str]) -> PromptTokens:
        """Encode K texts, padded to the longest of them.

        Raises:
            PromptError: a text is empty or too long.
        """
        unknown = [text for text in dict.fromkeys(texts) if text not in self._cache]
        known = {text: self._cache[text] for text in texts if text not in unknown}
        if unknown:
            known |= self._encode_unknown(unknown)
        for text in texts:
            self._cache[text] = known[text]
            self._cache.move_to_end(text)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return pad_tokens([known[text] for text in texts])

    def _encode_unknown(self, texts: list[str]) -> dict[str, Tensor]:
        context = self._model.config.text_config.max_position_embeddings
        input_ids, mask = self._tokenizer.encode(texts, context)
        longest = int(mask.sum(1).max())
        device = self._model.text_projection.weight.device
        features = self._model.encode_text(
            input_ids[:, :longest].to(device), mask[:, :longest].to(device)
        )
        return {
            text: tokens[valid].clone()
            for text, tokens, valid in zip(texts, features.tokens, features.valid, strict=True)
        }

    def batch(
        self,
        texts: Sequence[str | None],
        exemplars: Sequence[Exemplar] | None = None,
        image_index: Sequence[int] | None = None,
    ) -> ConceptBatch:
        """K concepts in one batch.

        Args:
            texts: the words of each; None where a concept is only shown.
            exemplars: what is shown of each; None when nothing is.
            image_index: the image each is to be found in; None puts all on the first.

        Raises:
            PromptError: a text cannot be used, or a concept has neither words nor exemplars.
        """
        device = self._model.text_projection.weight.device
        words = [EXEMPLAR_ONLY_TEXT if text is None else text for text in texts]
        index = torch.tensor(image_index or [0] * len(words), device=device)
        geometry = batch_exemplars(list(exemplars), device) if exemplars is not None else None
        return ConceptBatch(self.encode_texts(words), index, geometry)
