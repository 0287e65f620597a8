"""Connected components of batches of binary masks, 8-connected.

Two implementations of the same thing. On the CPU a mask is cut into horizontal runs, and runs
that touch are joined by a union-find that works on whole arrays, so the cost follows the number of
runs, not the number of pixels. On other devices labels spread by 3 x 3 max-pooling, which needs
no host round trip when only small components are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_IndexArray = NDArray[np.int64]


def connected_components(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Labels the 8-connected components of each mask.

    Args:
        masks: (N, H, W) bool.

    Returns:
        Labels (N, H, W) int64: 0 off the mask, elsewhere positive, equal exactly for the pixels of
        one component of one mask (labels are not consecutive). Areas (N, H, W) int64: the number
        of pixels in the pixel's component, 0 off the mask.
    """
    if masks.numel() == 0:
        zeros = torch.zeros(masks.shape, dtype=torch.int64, device=masks.device)
        return zeros, zeros.clone()
    if masks.device.type == "cpu":
        return _components_by_runs(masks)
    return _components_by_pooling(masks)


def small_components(masks: Tensor, max_areas: Tensor, bound: int) -> Tensor:
    """Marks the pixels of every component that has no more pixels than allowed.

    Args:
        masks: (N, H, W) bool.
        max_areas: (N,) integers, pixels; components of mask ``n`` up to ``max_areas[n]`` count as
            small.
        bound: no entry of ``max_areas`` is greater. Off the CPU the work grows with it, and
            knowing it beforehand spares a host round trip.

    Returns:
        (N, H, W) bool.
    """
    if masks.numel() == 0:
        return torch.zeros_like(masks)
    if masks.device.type != "cpu":
        return _small_by_pooling(masks, max_areas, bound)
    marked = torch.zeros_like(masks, memory_format=torch.contiguous_format)
    pixels = small_component_pixels(masks.numpy(), max_areas.numpy())
    marked.view(-1)[torch.from_numpy(pixels)] = True
    return marked


def small_component_pixels(
    masks: NDArray[np.bool_], max_areas: NDArray[np.int64]
) -> NDArray[np.int64]:
    """As :func:`small_components`, for masks on the CPU.

    Returns:
        (K,) indices of the marked pixels in the flattened (N, H, W) array, each once.
    """
    _, height, width = masks.shape
    runs = _find_runs(masks)
    areas = _run_areas(runs, _join_runs(runs, height))
    return _pixels_of_runs(runs, areas <= max_areas[runs.rows // height], width)


# --- runs (CPU) -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Runs:
    """Horizontal runs of set pixels, in raster order over all masks.

    ``rows`` count through the whole batch (mask · H + y); ``ends`` are exclusive.
    """

    rows: _IndexArray
    starts: _IndexArray
    ends: _IndexArray


def _find_runs(masks: NDArray[np.bool_]) -> _Runs:
    num_masks, height, width = masks.shape
    padded = np.zeros((num_masks * height, width + 2), dtype=np.bool_)
    padded[:, 1:-1] = masks.reshape(-1, width)
    # Every row has as many changes to set as back, so changes alternate start, end, start, ...
    changes = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    rows, columns = np.divmod(changes, width + 1)
    return _Runs(rows=rows[::2], starts=columns[::2], ends=columns[1::2])


def _join_runs(runs: _Runs, height: int) -> _IndexArray:
    """(R,) for each run the index of the first run of its component."""
    upper, lower = _touching_runs(runs, height)
    roots = np.arange(runs.rows.size)
    while upper.size:
        root_upper, root_lower = roots[upper], roots[lower]
        open_edges = root_upper != root_lower
        upper, lower = upper[open_edges], lower[open_edges]
        root_upper, root_lower = root_upper[open_edges], root_lower[open_edges]
        # Each root goes under the smallest root that it touches; then all paths are shortened.
        np.minimum.at(roots, np.maximum(root_upper, root_lower), np.minimum(root_upper, root_lower))
        while True:
            shorter = roots[roots]
            if np.array_equal(shorter, roots):
                break
            roots = shorter
    return roots


def _touching_runs(runs: _Runs, height: int) -> tuple[_IndexArray, _IndexArray]:
    """Pairs of runs in neighbouring rows of one mask that touch, corners included."""
    if runs.rows.size == 0:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty
    stride = int(runs.ends.max()) + 2
    below = (runs.rows + 1) * stride
    first = np.searchsorted(runs.rows * stride + runs.ends, below + runs.starts, side="left")
    last = np.searchsorted(runs.rows * stride + runs.starts, below + runs.ends, side="right")
    counts = np.where(runs.rows % height == height - 1, 0, last - first)
    upper = np.repeat(np.arange(runs.rows.size), counts)
    within = np.arange(upper.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _run_areas(runs: _Runs, roots: _IndexArray) -> _IndexArray:
    """(R,) pixels in the component of each run."""
    lengths = runs.ends - runs.starts
    totals = np.bincount(roots, weights=lengths, minlength=roots.size).astype(np.int64)
    areas: _IndexArray = totals[roots]
    return areas


def _pixels_of_runs(runs: _Runs, chosen: NDArray[np.bool_], width: int) -> _IndexArray:
    """Flat indices of the pixels of the chosen runs."""
    firsts = runs.rows[chosen] * width + runs.starts[chosen]
    lengths = runs.ends[chosen] - runs.starts[chosen]
    offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pixels: _IndexArray = np.repeat(firsts, lengths) + offsets
    return pixels


def _components_by_runs(masks: Tensor) -> tuple[Tensor, Tensor]:
    runs = _find_runs(masks.numpy())
    roots = _join_runs(runs, masks.shape[1])
    lengths = runs.ends - runs.starts
    pixels = _pixels_of_runs(runs, np.ones(roots.size, dtype=np.bool_), masks.shape[2])
    labels = np.zeros(masks.numel(), dtype=np.int64)
    areas = np.zeros(masks.numel(), dtype=np.int64)
    labels[pixels] = np.repeat(roots + 1, lengths)
    areas[pixels] = np.repeat(_run_areas(runs, roots), lengths)
    return torch.from_numpy(labels).view(masks.shape), torch.from_numpy(areas).view(masks.shape)


# --- pooling (any device) -------------------------------------------------------------------------


def _initial_labels(masks: Tensor) -> Tensor:
    """(N, H, W) float32, 1 + the pixel's index in its mask, 0 off the mask.

    Max-pooling wants floats, and float32 holds integers up to 2**24 exactly: 16 megapixels.
    """
    _, height, width = masks.shape
    if height * width >= 1 << 24:
        raise ValueError(f"masks of {height} x {width} pixels are too large to label")
    index = torch.arange(1, height * width + 1, dtype=torch.float32, device=masks.device)
    return index.view(height, width) * masks


def _spread(labels: Tensor, masks: Tensor) -> Tensor:
    return F.max_pool2d(labels.unsqueeze(1), 3, stride=1, padding=1).squeeze(1) * masks


def _components_by_pooling(masks: Tensor) -> tuple[Tensor, Tensor]:
    labels = _initial_labels(masks)
    while True:
        spread = _spread(labels, masks).flatten(1)
        # A label names a pixel; taking over that pixel's own label doubles the reach each round.
        named = (spread.long() - 1).clamp(min=0)
        spread = torch.maximum(spread, spread.gather(1, named) * masks.flatten(1))
        spread = spread.view_as(labels)
        if torch.equal(spread, labels):
            break
        labels = spread
    index = labels.flatten(1).long()
    counts = _count(index, masks)
    areas = counts.gather(1, index).view(masks.shape) * masks
    num_pixels = masks.shape[1] * masks.shape[2]
    offsets = torch.arange(masks.shape[0], device=masks.device).view(-1, 1) * num_pixels
    unique = (index + offsets).view(masks.shape) * masks
    return unique, areas


def _count(index: Tensor, masks: Tensor) -> Tensor:
    """(N, 1 + HW) how many set pixels carry each label."""
    counts = index.new_zeros(index.shape[0], index.shape[1] + 1)
    return counts.scatter_add_(1, index, masks.flatten(1).long())


def _small_by_pooling(masks: Tensor, max_areas: Tensor, bound: int) -> Tensor:
    """Small components only, without waiting for the large ones to converge.

    Inside a component of ``bound`` pixels no two pixels are more than ``bound - 1`` steps apart, so
    after that many rounds all its pixels carry one label. A region of one label that still
    borders on another label is part of something larger and does not count.
    """
    if bound <= 0:
        return torch.zeros_like(masks)
    labels = _initial_labels(masks)
    for _ in range(bound - 1):
        labels = _spread(labels, masks)
    highest = _spread(labels, masks)
    # The lowest label around, with the outside lifted above every label.
    outside = float(labels.shape[1] * labels.shape[2] + 1)
    lifted = torch.where(masks, -labels, -outside)
    lowest = -F.max_pool2d(lifted.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    borders = masks & ((highest != labels) | (lowest != labels))
    index = labels.flatten(1).long()
    counts = _count(index, masks)
    # One bordering pixel is enough to disqualify its region.
    counts.scatter_add_(1, index, borders.flatten(1).long() * (bound + 1))
    areas = counts.gather(1, index).view(masks.shape)
    return masks & (areas <= max_areas.to(areas.dtype).view(-1, 1, 1))
