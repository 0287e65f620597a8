"""Embeddings of texts, by which near words are found."""

from __future__ import annotations

import torch

from maskstream.detector.build import Sam3ImageModel


@torch.inference_mode()
def embed_text(model: Sam3ImageModel, text: str) -> list[float]:
    """What the checkpoint makes of a text, as one vector.

    It is the token at the text's end, which has seen all words before it. Words for one thing lie
    near each other, in any language that the checkpoint knows; the mean of all tokens would put
    phrases with one word in common near each other, such as "red car" and "red circle".

    Args:
        model: of the checkpoint that the index was built with; embeddings of two checkpoints cannot
            be compared.

    Returns:
        The vector, of unit length: the product of two is their similarity, from -1 to 1.

    Raises:
        PromptError: the text is empty or too long.
    """
    context = model.config.text_config.max_position_embeddings
    input_ids, mask = model.tokenizer.encode([text], context)
    device = model.text_projection.weight.device
    encoded = model.encode_text(input_ids.to(device), mask.to(device))
    end = encoded.tokens[0, int(encoded.valid.sum()) - 1].double()
    vector: list[float] = (end / end.norm()).tolist()
    return vector
