"""The two ways of bringing masks to the video's size, on the CPU and elsewhere, agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskstream.tracker.overlap import _resize, _separate, overlap_groups, resize_and_separate


def blobs(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """(count, *size) smooth logits; the last mask is empty, the first a single pixel."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 5, 6, generator=generator) - 0.6
    masks = F.interpolate(coarse, size=size, mode="bicubic")[:, 0]
    masks[-1] = -3.0
    masks[0] = -1.0
    masks[0, size[0] // 2, size[1] // 3] = 4.0
    return masks


def whole(masks: Tensor, scores: Tensor, prompts: list[int], size: tuple[int, int]) -> Tensor:
    """The way for other devices."""
    groups, _ = overlap_groups(prompts)
    out = _resize(masks, size)
    competing = np.flatnonzero((np.bincount(groups) > 1)[groups])
    if competing.size:
        _separate(out, competing, groups[competing], scores)
    return out


@pytest.mark.parametrize("size", [(480, 640), (97, 131), (24, 30), (10, 13), (1, 1), (3, 500)])
@pytest.mark.parametrize("prompts", [[0] * 7, [0, 1, 0, 1, 2, 2, 0], [-1, -1, 0, 0, -1, 5, 5]])
def test_crops_and_whole_masks_agree(size: tuple[int, int], prompts: list[int]) -> None:
    masks = blobs(7, (24, 30), seed=size[0])
    scores = torch.tensor([0.9, 0.4, 0.9, 0.2, 0.7, 0.7, 0.1])
    ours = resize_and_separate(masks, scores, prompts, size)
    other = whole(masks, scores, prompts, size)
    assert ours.shape == other.shape == (7, *size)
    # A sum that is 0 but for its last bit may fall on either side.
    assert (ours != other).sum().item() <= 2e-5 * ours.numel()
    if min(size) > 20:
        assert ours.any()


def test_masks_that_fill_the_frame_or_touch_its_edges() -> None:
    masks = torch.full((3, 8, 8), -5.0)
    masks[0] = 5.0
    masks[1, 0, :] = 5.0
    masks[2, :, -1] = 5.0
    for size in ((32, 32), (5, 7)):
        ours = resize_and_separate(masks, torch.ones(3), [0, 1, 2], size)
        assert torch.equal(ours, whole(masks, torch.ones(3), [0, 1, 2], size))
        assert ours[0].all()
