"""Starting values for a detector trained from nothing."""

from __future__ import annotations

import torch
from torch import nn

from detector.model import Detector


@torch.no_grad()
def initialise_linears(model: nn.Module) -> None:
    """Xavier weights and zero biases for all linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def initialise_detector(model: Detector) -> None:
    """Queries spread over the image, boxes that start where their query stands."""
    initialise_linears(model)
    decoder = model.detr_decoder
    count = decoder.reference_points.weight.shape[0]
    columns = int(count**0.5)
    rows = -(-count // columns)
    cells = torch.arange(count)
    x = ((cells % columns) + 0.5) / columns
    y = ((cells // columns) + 0.5) / rows
    size = torch.full((count,), 0.2)
    spread = torch.stack((x, y, size, size), dim=1)
    decoder.reference_points.weight.copy_(torch.logit(spread))
    last = decoder.box_head.layer3
    if last is not None:
        nn.init.zeros_(last.weight)
    embeddings = model.text_encoder.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.3)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
