"""Masks as COCO's compressed run-length code.

The runs are counted column by column. A mask is cut to the box around it first, because only the
box needs to be turned into column order; what lies outside is put back by arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeGuard

import numpy as np
from hotcoco import mask as coco_mask
from numpy.typing import NDArray

from maskstream.core.errors import InputError
from maskstream.core.limits import MAX_PIXELS


class Rle(TypedDict):
    """A mask as COCO writes it: ``size`` is [height, width], ``counts`` the compressed runs."""

    size: list[int]
    counts: str


def encode_mask(mask: NDArray[np.bool_]) -> Rle:
    """Encode one mask.

    Args:
        mask: (H, W) bool.

    Returns:
        the code, bit for bit as pycocotools gives it, with ``counts`` as text.
    """
    height, width = mask.shape
    code = coco_mask.fr_py_objects({"size": [height, width], "counts": _runs(mask)}, height, width)
    return Rle(size=[height, width], counts=code["counts"].decode("ascii"))


def encode_masks(masks: NDArray[np.bool_]) -> list[Rle]:
    """Encode (N, H, W) bool masks; see ``encode_mask``."""
    return [encode_mask(mask) for mask in masks]


def decode_mask(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode one mask.

    Args:
        rle: ``size`` and ``counts``; the counts compressed (text or bytes) or as a list of run
            lengths. Runs that end before the mask does leave the rest empty.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the code is malformed, or longer than its size.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if not _is_size(size):
        raise InputError(
            f"a run-length code has size [height, width], both positive and at most "
            f"{MAX_PIXELS} pixels together, not {size!r:.80}"
        )
    mask = np.zeros(size, np.bool_)
    _decode_into(mask, counts)
    return mask


def decode_masks(rles: list[Rle], height: int, width: int) -> NDArray[np.bool_]:
    """Decode N masks of one size to (N, height, width) bool.

    Raises:
        InputError: a code is malformed, or of another size.
    """
    masks = np.zeros((len(rles), height, width), np.bool_)
    for mask, rle in zip(masks, rles, strict=True):
        size = rle.get("size")
        if not _is_size(size) or list(size) != [height, width]:
            raise InputError(f"a run-length code has size {size!r:.80}, not [{height}, {width}]")
        _decode_into(mask, rle.get("counts"))
    return masks


def _decode_into(mask: NDArray[np.bool_], counts: Any) -> None:
    """Set the pixels of an empty (H, W) mask.

    Only the box around them is copied: the code counts column by column, and turning columns into
    rows takes longer than all the rest.
    """
    code = {"size": list(mask.shape), "counts": counts}
    try:
        columns = coco_mask.decode(code)
        box = (0, 0, *mask.shape[::-1]) if isinstance(counts, list) else coco_mask.to_bbox(code)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"a run-length code cannot be decoded: {error}") from error
    x, y, width, height = (int(value) for value in box)
    where = np.s_[y : y + height, x : x + width]
    mask[where] = columns[where]


def mask_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """The box around a (H, W) mask: x0, y0, x1, y1 in pixels, the ends excluded; None if empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs in column order, beginning with a run of zeros."""
    height, width = mask.shape
    box = mask_box(mask)
    if box is None:
        return [height * width]
    x0, y0, x1, y1 = box
    box_height = y1 - y0
    # A row of zeros under the box ends every run at its column, unless runs really go on in
    # the next column because the box is as high as the mask.
    padding = 0 if box_height == height else 1
    columns = np.zeros((x1 - x0, box_height + padding), np.bool_)
    columns[:, :box_height] = mask[y0:y1, x0:x1].T
    flat = columns.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        changes = np.concatenate([[0], changes])
    if flat[-1]:
        changes = np.append(changes, flat.size)
    column, row = np.divmod(changes, box_height + padding)
    places = (column + x0) * height + row + y0
    edges = np.concatenate([[0], places, [height * width]])
    runs: list[int] = np.diff(edges).tolist()
    return runs if runs[-1] else runs[:-1]


def _is_size(size: object) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(n, int) and n > 0 for n in size)
        and size[0] * size[1] <= MAX_PIXELS
    )
