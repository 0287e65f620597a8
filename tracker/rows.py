"""Rows of a tensor, one row an object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def take(values: Tensor, rows: Sequence[int]) -> Tensor:
    """``values[rows]``, without a copy where that is all of them in order."""
    if len(rows) == values.shape[0] and list(rows) == list(range(len(rows))):
        return values
    return values[torch.tensor(rows, dtype=torch.int64).to(values.device, non_blocking=True)]
