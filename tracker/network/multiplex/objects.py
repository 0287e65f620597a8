"""Objects on a frame, as they are to be remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.tracker.rows import take


@dataclass(frozen=True, slots=True)
class Objects:
    """N objects on a frame, as they are to be remembered.

    Attributes:
        masks: (N, 4h, 4w) logits.
        scores: (N,) object score logits.
        pointers: (N, C).
        conditioning: (N,) bool, the mask was given on this frame.
    """

    masks: Tensor
    scores: Tensor
    pointers: Tensor
    conditioning: NDArray[np.bool_]

    def take(self, rows: Sequence[int]) -> Objects:
        """Some of them."""
        return Objects(
            take(self.masks, rows),
            take(self.scores, rows),
            take(self.pointers, rows),
            self.conditioning[list(rows)],
        )

    def put(self, rows: Sequence[int], others: Objects) -> Objects:
        """These with others in place of some."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.masks.device)
        conditioning = self.conditioning.copy()
        conditioning[list(rows)] = others.conditioning
        return Objects(
            self.masks.index_copy(0, index, others.masks.to(self.masks.dtype)),
            self.scores.index_copy(0, index, others.scores.to(self.scores.dtype)),
            self.pointers.index_copy(0, index, others.pointers.to(self.pointers.dtype)),
            conditioning,
        )

    def followed_by(self, others: Objects) -> Objects:
        """These and others behind them."""
        return Objects(
            torch.cat((self.masks, others.masks.to(self.masks.dtype))),
            torch.cat((self.scores, others.scores.to(self.scores.dtype))),
            torch.cat((self.pointers, others.pointers.to(self.pointers.dtype))),
            np.concatenate((self.conditioning, others.conditioning)),
        )
