"""Batches of rendered frames with concepts to find in them.

A batch depends on its number alone, so that a resumed run goes on with the batches it would have
seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.frames import (
    MAX_TARGETS,
    SampledFrame,
    sample_frame,
)
from training.queries import MAX_BOXES, MAX_POINTS, Query, draw_queries, draw_texts, members_of
from training.spec import Split
from training.tokenizer import CONTEXT_LENGTH, encode
from training.vocabulary import Concept


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """B frames and K concepts, each asked of one frame; sizes in pixels or normalised as said.

    Attributes:
        pixels: (B, 3, S, S) uint8.
        image_index: (K,) int64, the frame each concept is asked of.
        input_ids: (K, 32) int64.
        attention_mask: (K, 32) bool.
        boxes: (K, P, 4) exemplar boxes, cx cy w h normalised.
        box_labels: (K, P) int64, 1 positive, 0 negative, -1 no box.
        points: (K, P, 2) exemplar points, x y normalised.
        point_labels: (K, P) int64, as ``box_labels``.
        target_boxes: (K, G, 4) cx cy w h normalised, first the real ones.
        target_masks: (K, G, S/4, S/4) share of each cell that is the object's.
        target_count: (K,) int64, number of real targets.
        semantic: (K, S/4, S/4) share of each cell that belongs to the concept.
        colors: (B, S/4, S/4) int64, 1 + colour number of each cell, 0 for background, -1 for things
            of no named colour.
        kinds: (B, S/4, S/4) int64, 1 + kind number of each cell, 0 for background, -1 for things
            without a name.
        edges: (B, 4, S/4, S/4) distance from each cell to its object's left, top, right, bottom.
        owners: (B, S/4, S/4) int64 number of the object that each cell shows, -1 for none.
        stencils: (B, G, TEMPLATE²) each object's visible mask, its box stretched to a small square.
        object_kinds: (B, G) int64 kind number of each object, -1 for those without a name or none.
        object_usable: (B, G) bool, whether enough of each object is seen.
        text_ids: (M, 32) int64, texts to be aligned with what the frames show.
        text_lengths: (M,) int64, tokens of each text, start and end included.
        text_members: (M, B, G) bool, the objects that each text is true of.
    """

    pixels: Tensor
    image_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    boxes: Tensor
    box_labels: Tensor
    points: Tensor
    point_labels: Tensor
    target_boxes: Tensor
    target_masks: Tensor
    target_count: Tensor
    semantic: Tensor
    colors: Tensor
    kinds: Tensor
    edges: Tensor
    owners: Tensor
    stencils: Tensor
    object_kinds: Tensor
    object_usable: Tensor
    text_ids: Tensor
    text_lengths: Tensor
    text_members: Tensor

    def to(self, device: torch.device) -> DetectorBatch:
        """The same batch on a device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return DetectorBatch(**moved)

    def to_float(self) -> Tensor:
        """Pixels as the model wants them, (B, 3, S, S) in [-1, 1]."""
        return self.pixels.float() / 127.5 - 1.0


def collate(
    rng: np.random.Generator,
    frames: list[SampledFrame],
    queries: list[list[Query]],
    texts: list[tuple[str, Concept]],
    tokenizer: Tokenizer,
) -> DetectorBatch:
    """Put frames, their queries and texts to align them with into one padded batch."""
    flat = [(index, query) for index, group in enumerate(queries) for query in group]
    ids, attention = encode(tokenizer, [query.text for _, query in flat])
    cells = frames[0].coverage.shape[1:]
    num = len(flat)
    arrays: dict[str, npt.NDArray[Any]] = {
        "boxes": np.zeros((num, MAX_BOXES, 4), np.float32),
        "box_labels": np.full((num, MAX_BOXES), -1, np.int64),
        "points": np.zeros((num, MAX_POINTS, 2), np.float32),
        "point_labels": np.full((num, MAX_POINTS), -1, np.int64),
        "target_boxes": np.zeros((num, MAX_TARGETS, 4), np.float32),
        "target_masks": np.zeros((num, MAX_TARGETS, *cells), np.float32),
        "target_count": np.zeros(num, np.int64),
        "semantic": np.zeros((num, *cells), np.float32),
    }
    for row, (index, query) in enumerate(flat):
        frame = frames[index]
        arrays["semantic"][row] = frame.coverage[query.members].sum(0).clip(0, 1)
        targets = np.flatnonzero(query.members & frame.usable)[:MAX_TARGETS]
        arrays["target_boxes"][row, : len(targets)] = frame.boxes[targets]
        arrays["target_masks"][row, : len(targets)] = frame.coverage[targets]
        arrays["target_count"][row] = len(targets)
        shown = [(i, 1) for i in query.positive] + [(i, 0) for i in query.negative]
        for slot, (target, label) in enumerate(shown):
            if query.as_points:
                arrays["points"][row, slot] = _point_inside(rng, frame.coverage[target])
                arrays["point_labels"][row, slot] = label
            else:
                arrays["boxes"][row, slot] = _jittered(rng, frame.boxes[target])
                arrays["box_labels"][row, slot] = label
    dense = [_dense_truth(frame) for frame in frames]
    text_ids, text_attention = encode(tokenizer, [text for text, _ in texts])
    return DetectorBatch(
        pixels=torch.from_numpy(np.stack([f.image for f in frames]))
        .permute(0, 3, 1, 2)
        .contiguous(),
        image_index=torch.tensor([index for index, _ in flat]),
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(attention, dtype=torch.bool),
        colors=torch.from_numpy(np.stack([d[0] for d in dense])),
        kinds=torch.from_numpy(np.stack([d[1] for d in dense])),
        edges=torch.from_numpy(np.stack([d[2] for d in dense])),
        owners=torch.from_numpy(np.stack([d[3] for d in dense])),
        stencils=torch.from_numpy(np.stack([_padded(frame.stencils, 0) for frame in frames])),
        object_kinds=torch.from_numpy(np.stack([_padded(frame.kinds, -1) for frame in frames])),
        object_usable=torch.from_numpy(
            np.stack([_padded(frame.usable, False) for frame in frames])
        ),
        text_ids=torch.tensor(text_ids, dtype=torch.int64).reshape(-1, CONTEXT_LENGTH),
        text_lengths=torch.tensor([sum(mask) for mask in text_attention], dtype=torch.int64),
        text_members=torch.from_numpy(_text_members(frames, texts)),
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
    )


def _point_inside(
    rng: np.random.Generator, coverage: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """A random cell's centre inside an object, x y normalised."""
    rows, columns = np.nonzero(coverage >= min(0.9, float(coverage.max())))
    pick = int(rng.integers(0, len(rows)))
    height, width = coverage.shape
    return (columns[pick] + 0.5) / width, (rows[pick] + 0.5) / height


def _jittered(rng: np.random.Generator, box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A box as a hand would draw it: edges off by up to a tenth of its size."""
    size = np.concatenate([box[2:], box[2:]])
    noise = rng.uniform(-0.08, 0.08, 4).astype(np.float32) * size
    jittered: npt.NDArray[np.float32] = (box + noise).clip(0.001, 0.999)
    return jittered


def _padded(rows: npt.NDArray[Any], filling: float) -> npt.NDArray[Any]:
    """Rows of objects, with rows of ``filling`` up to MAX_TARGETS."""
    padded = np.full((MAX_TARGETS, *rows.shape[1:]), filling, rows.dtype)
    padded[: len(rows)] = rows
    return padded


def _text_members(
    frames: list[SampledFrame], texts: list[tuple[str, Concept]]
) -> npt.NDArray[np.bool_]:
    """(M, B, G): which objects of which frame each text is true of."""
    members = np.zeros((len(texts), len(frames), MAX_TARGETS), np.bool_)
    for column, frame in enumerate(frames):
        count = len(frame.kinds)
        for row, (_, concept) in enumerate(texts):
            members[row, column, :count] = members_of(frame, concept)
    return members


def _dense_truth(
    frame: SampledFrame,
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]
]:
    """Colour, kind, edge distances and object number of each cell."""
    height, width = frame.coverage.shape[1:]
    owner = frame.coverage.argmax(0)
    inside = frame.coverage.max(0) >= 0.5
    color_of = np.where(frame.colors < 0, -1, frame.colors + 1)
    kind_of = np.where(frame.kinds < 0, -1, frame.kinds + 1)
    box = frame.boxes[owner]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    left, top = box[..., 0] - box[..., 2] / 2, box[..., 1] - box[..., 3] / 2
    edges = np.stack([x - left, y - top, left + box[..., 2] - x, top + box[..., 3] - y])
    return (
        np.where(inside, color_of[owner], 0),
        np.where(inside, kind_of[owner], 0),
        (edges * inside).astype(np.float32),
        np.where(inside, owner, -1),
    )


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What batches look like.

    Attributes:
        side: image side in pixels.
        images: frames in a batch.
        concepts: concepts asked of each frame.
        exemplar_rate: share of concepts given by exemplars alone.
        split: which clips.
        first: number of the first batch.
        count: number of batches.
        stride: distance of one batch's number from the next one's.
        texts: number of texts to align with the frames of a batch.
    """

    side: int
    images: int
    concepts: int
    exemplar_rate: float
    split: Split
    first: int
    count: int
    stride: int = 1
    texts: int = 0


def make_batch(plan: BatchPlan, number: int, tokenizer: Tokenizer) -> DetectorBatch:
    """The batch of this number; the same on every call."""
    seeds = range(number * plan.images, (number + 1) * plan.images)
    frames = [sample_frame(seed, plan.side, plan.split) for seed in seeds]
    rng = np.random.default_rng((number, 1234))
    queries = [draw_queries(rng, frame, plan.concepts, plan.exemplar_rate) for frame in frames]
    return collate(rng, frames, queries, draw_texts(rng, frames, plan.texts), tokenizer)


def batches(plan: BatchPlan, tokenizer: Tokenizer) -> Iterator[DetectorBatch]:
    """Iterate over a plan's batches.

    Rendering takes less than a tenth of a detector's step and a fifth of one of the encoders alone
    (with AVX2), and workers would take the cores from the processes that train.
    """
    for index in range(plan.count):
        yield make_batch(plan, plan.first + index * plan.stride, tokenizer)
