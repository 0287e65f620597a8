"""Joins the objects of a long video's parts: one id for what two parts have seen as two.

Two parts share the frames of their overlap. Objects of one concept whose masks agree on these are
one; each has one partner at most, chosen so that all agree best together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from hotcoco import mask as coco_mask
from numpy.typing import NDArray

LEAST_IOU = 0.5
"""Objects that agree less are two."""


@dataclass(frozen=True, slots=True)
class Seam:
    """The rows of two parts on the frames that both have looked at.

    Attributes:
        before: observations of the earlier part, with masks.
        after: of the later one.
        size: (height, width) of the masks.
        time_s: where the seam is, for messages.
    """

    before: pa.Table
    after: pa.Table
    size: tuple[int, int]
    time_s: float


@dataclass(slots=True)
class Stitches:
    """The ids of the whole video.

    Attributes:
        ids: for each part, the id of the whole video by the part's own.
        losses: objects that are at a seam on one side only, in words.
    """

    ids: list[dict[int, int]]
    losses: list[str] = field(default_factory=list)


def stitch(objects: Sequence[Sequence[int]], seams: Sequence[Seam], first_id: int) -> Stitches:
    """Give the objects of all parts the ids of the whole video.

    Args:
        objects: for each part, the ids of its objects.
        seams: between each part and the next.
        first_id: ids are counted from here on.
    """
    found = Stitches([])
    next_id = first_id
    for part, own_ids in enumerate(objects):
        joined: dict[int, int] = {}
        if part > 0:
            pairs, losses = match(seams[part - 1])
            found.losses += losses
            joined = {after: found.ids[part - 1][before] for before, after in pairs}
        ids = {}
        for own_id in sorted(own_ids):
            if own_id in joined:
                ids[own_id] = joined[own_id]
            else:
                ids[own_id] = next_id
                next_id += 1
        found.ids.append(ids)
    return found


def match(seam: Seam) -> tuple[list[tuple[int, int]], list[str]]:
    """Pair the objects of a seam.

    Returns:
        Pairs (id before, id after); and what stays alone, in words.
    """
    before, after = _by_object(seam.before), _by_object(seam.after)
    pairs, losses = [], []
    for concept in sorted({key[0] for key in (*before, *after)}):
        ours = sorted(key for key in before if key[0] == concept)
        theirs = sorted(key for key in after if key[0] == concept)
        ious = np.zeros((len(ours), len(theirs)))
        for row, one in enumerate(ours):
            for column, other in enumerate(theirs):
                ious[row, column] = _iou(before[one], after[other], seam.size)
        chosen = [pair for pair in assign(ious) if ious[pair] >= LEAST_IOU]
        pairs += [(ours[row][1], theirs[column][1]) for row, column in chosen]
        where = f"the seam at {seam.time_s:g} s"
        paired_rows, paired_columns = {row for row, _ in chosen}, {column for _, column in chosen}
        losses += [
            f"{concept!r} {key[1]} has no successor at {where}"
            for row, key in enumerate(ours)
            if row not in paired_rows
        ]
        losses += [
            f"{concept!r} {key[1]} has no predecessor at {where}"
            for column, key in enumerate(theirs)
            if column not in paired_columns
        ]
    return pairs, losses


def assign(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs of rows and columns whose gains sum up highest, each used once at most.

    The Hungarian method, with potentials and augmenting paths, O(n³).

    Args:
        gains: (N, M).

    Returns:
        min(N, M) pairs (row, column), by row.
    """
    num_rows, num_columns = gains.shape
    if num_rows == 0 or num_columns == 0:
        return []
    if num_rows > num_columns:
        return sorted((row, column) for column, row in assign(gains.T))
    costs = -gains
    of_row, of_column = np.zeros(num_rows + 1), np.zeros(num_columns + 1)
    row_of = np.zeros(num_columns + 1, int)  # counted from 1; 0: none
    for row in range(1, num_rows + 1):
        row_of[0] = row
        column = 0
        slack = np.full(num_columns + 1, np.inf)
        came_from = np.zeros(num_columns + 1, int)
        visited = np.zeros(num_columns + 1, bool)
        while row_of[column] != 0:
            visited[column] = True
            here = row_of[column]
            reduced = costs[here - 1] - of_row[here] - of_column[1:]
            better = ~visited[1:] & (reduced < slack[1:])
            slack[1:][better] = reduced[better]
            came_from[1:][better] = column
            open_slack = np.where(visited, np.inf, slack)
            open_slack[0] = np.inf
            nearest = int(open_slack.argmin())
            step = open_slack[nearest]
            of_row[row_of[visited]] += step
            of_column[visited] -= step
            slack[~visited] -= step
            column = nearest
        while column != 0:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    return sorted(
        (int(row_of[column]) - 1, column - 1)
        for column in range(1, num_columns + 1)
        if row_of[column]
    )


def _by_object(rows: pa.Table) -> dict[tuple[str, int], dict[int, bytes]]:
    """For each concept and object, its masks by frame."""
    found: dict[tuple[str, int], dict[int, bytes]] = defaultdict(dict)
    columns = (rows[name].to_pylist() for name in ("concept", "object_id", "frame", "rle"))
    for concept, object_id, frame, rle in zip(*columns, strict=True):
        found[concept, object_id][frame] = rle
    return found


def _iou(one: dict[int, bytes], other: dict[int, bytes], size: tuple[int, int]) -> float:
    """Of the masks on all frames together."""
    intersection = union = 0.0
    for frame in one.keys() | other.keys():
        codes = [
            {"size": list(size), "counts": masks[frame]} for masks in (one, other) if frame in masks
        ]
        areas = [float(area) for area in coco_mask.area(codes)]
        if len(codes) == 2:
            iou = float(np.asarray(coco_mask.iou(codes[:1], codes[1:], [False]))[0, 0])
            shared = iou * sum(areas) / (1 + iou)
            intersection += shared
            union += sum(areas) - shared
        else:
            union += areas[0]
    return intersection / union if union else 0.0
