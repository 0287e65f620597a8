"""Words and what they mean, side by side: text features are pulled to the cells they describe.

The fusion encoder compares prompt tokens with image tokens by attention. It can only do that once
both speak one language, and a loss at the far end of the decoder teaches it to them very slowly.
So words are aligned with the neck's coarsest cells directly, in the manner of CLIP (Radford et al.,
2021), while the image encoder learns to see.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.detector.model import Detector
from training.data import DetectorBatch

INITIAL_SCALE = 10.0
MAX_SCALE = 50.0


def spoken(model: Detector, ids: Tensor, lengths: Tensor) -> Tensor:
    """Features of each text's last word and of its end token: they have seen the whole text.

    Args:
        model: whose text encoder is used.
        ids: (M, L) int64.
        lengths: (M,) int64, real tokens with start and end.

    Returns:
        (M, 2, C) prompt tokens.
    """
    longest = int(lengths.max())
    tokens = model.encode_text(ids[:, :longest], torch.ones_like(ids[:, :longest])).tokens
    places = torch.stack((lengths - 2, lengths - 1), 1)
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


class AlignmentHead(nn.Module):
    """Contrastive loss between cells and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def forward(self, coarse: Tensor, texts: Tensor, batch: DetectorBatch) -> Tensor:
        """How far cells are from choosing a text that describes them, and the other way round.

        Args:
            coarse: (B, C, h, w), the neck's coarsest level.
            texts: (M, 2, C) of :func:`spoken`.
            batch: the truth.
        """
        logits, belongs = self._compare(coarse, texts, batch)
        if not len(belongs):
            return coarse.sum() * 0.0
        right = logits.masked_fill(~belongs, -torch.inf)
        by_cell = (logits.logsumexp(2) - right.logsumexp(2)).mean()
        shown = belongs.any(0)
        by_text = (logits.logsumexp(1) - right.logsumexp(1))[:, shown].mean()
        return by_cell + 0.5 * by_text

    @torch.no_grad()
    def accuracy(self, coarse: Tensor, texts: Tensor, batch: DetectorBatch) -> float:
        """Share of cells whose nearest text describes them; arguments as for ``forward``."""
        logits, belongs = self._compare(coarse, texts, batch)
        best = logits.mean(0).argmax(1, keepdim=True)
        return float(belongs.gather(1, best).float().mean())

    def _compare(
        self, coarse: Tensor, texts: Tensor, batch: DetectorBatch
    ) -> tuple[Tensor, Tensor]:
        """Logits (2, N, M) of N cells that some text describes, and which do, (N, M) bool."""
        step = batch.owners.shape[-1] // coarse.shape[-1]
        pick = slice(step // 2, None, step)
        owners = batch.owners[:, pick, pick]
        image, y, x = (owners >= 0).nonzero(as_tuple=True)
        belongs = batch.text_members[:, image, owners[image, y, x]].T
        described = belongs.any(1)
        cells = functional.normalize(coarse[image, :, y, x][described], dim=-1)
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        # Last words and end tokens are to mean the same.
        logits = scale * torch.einsum("nc,mtc->tnm", cells, functional.normalize(texts, dim=-1))
        return logits, belongs[described]
