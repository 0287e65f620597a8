"""Batches of rendered frames with concepts to find in them.

A batch depends on its number alone, so that a resumed run goes on with the batches it would have
seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from training.scenes import ClipRenderer, Frame, Split, make_clip
from training.tokenizer import encode
from training.vocabulary import (
    ABSENT_COLORS,
    ABSENT_NOUNS,
    COLORS,
    GENERIC,
    HELD_OUT,
    SHAPES,
    VISUAL,
    Concept,
    all_concepts,
    phrasings,
)

FULL_SIDE = 320
MAX_TARGETS = 9
TEMPLATE = 8
MAX_BOXES = 2
MAX_POINTS = 2


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
        colors: (B, S/4, S/4) int64 colour number of each cell, 0 for background.
        shapes: (B, S/4, S/4) int64 shape number of each cell, 0 for background.
        edges: (B, 4, S/4, S/4) distance from each cell to its object's left, top, right, bottom.
        owners: (B, S/4, S/4) int64 number of the object that each cell shows, -1 for none.
        stencils: (B, G, TEMPLATE²) each object's visible mask, its box stretched to a small square.
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
    shapes: Tensor
    edges: Tensor
    owners: Tensor
    stencils: Tensor

    def to_float(self) -> Tensor:
        """Pixels as the model wants them, (B, 3, S, S) in [-1, 1]."""
        return self.pixels.float() / 127.5 - 1.0


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One frame at training size.

    Attributes:
        image: (S, S, 3) uint8.
        coverage: (N, S/4, S/4) float32.
        boxes: (N, 4) cx cy w h normalised, of what is visible.
        usable: (N,) bool, whether enough is visible to be asked for.
        colors: N colour names.
        shapes: N shape names.
        stencils: (N, TEMPLATE²) float32, each visible mask with its box stretched to a square.
    """

    image: npt.NDArray[np.uint8]
    coverage: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    stencils: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]
    colors: tuple[str, ...]
    shapes: tuple[str, ...]


class Crowd(TypedDict):
    """How many objects of what size a clip shows, as ``make_clip`` takes it."""

    num_objects: tuple[int, int]
    zoom: float


def crowd_at(side: int, least: int = 1) -> Crowd:
    """Fewer and larger objects in smaller pictures.

    Objects nearly keep their size in pixels, as in a cutout of a full-size picture, so that what
    is learned on small pictures carries over.
    """
    zoom = FULL_SIDE / side
    return Crowd(num_objects=(least, max(least, round(9 / zoom))), zoom=zoom**0.8)


def sample_frame(seed: int, side: int, split: Split) -> SampledFrame:
    """Render one frame of clip ``seed`` at ``side`` pixels."""
    spec = make_clip(seed, split, **crowd_at(side))
    rng = np.random.default_rng((seed, 77))
    frame = ClipRenderer(spec, (side, side), supersample=3).frame(int(rng.integers(0, 400)))
    return reduce_frame(frame)


def reduce_frame(frame: Frame) -> SampledFrame:
    """Truth at a quarter of the frame's resolution, with boxes."""
    count, height, width = frame.visible.shape
    cells = frame.visible.reshape(count, height // 4, 4, width // 4, 4).mean((2, 4))
    boxes = visible_boxes(frame.masks)
    stencils = np.stack([_stencil(*pair) for pair in zip(frame.visible, boxes, strict=True)])
    area = frame.visible.sum((1, 2))
    enough = (area >= 0.0012 * height * width) & (area >= 0.2 * frame.amodal_area)
    usable = enough & (boxes[:, 2:] > 0).all(1)
    return SampledFrame(frame.image, cells, boxes, stencils, usable, frame.colors, frame.shapes)


def _stencil(
    visible: npt.NDArray[np.float32], box: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What is seen of one object, cut out along its box and resampled to TEMPLATE²."""
    if not box[2:].all():
        return np.zeros(TEMPLATE * TEMPLATE, np.float32)
    height, width = visible.shape
    corner, size = box[:2] - box[2:] / 2, box[2:]
    x0, y0 = round(corner[0] * width), round(corner[1] * height)
    x1, y1 = round((corner + size)[0] * width), round((corner + size)[1] * height)
    cut = Image.fromarray(visible[y0:y1, x0:x1])
    small = cut.resize((TEMPLATE, TEMPLATE), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).ravel().clip(0, 1)


def visible_boxes(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Tight boxes of (N, H, W) masks, cx cy w h normalised; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    height, width = masks.shape[1:]
    rows = np.asarray(masks.any(axis=2))
    columns = np.asarray(masks.any(axis=1))
    for index in np.flatnonzero(rows.any(axis=1)):
        ys, xs = np.flatnonzero(rows[index]), np.flatnonzero(columns[index])
        x0, x1, y0, y1 = xs[0], xs[-1] + 1, ys[0], ys[-1] + 1
        center = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
        boxes[index] = (*center, (x1 - x0) / width, (y1 - y0) / height)
    return boxes


@dataclass(frozen=True, slots=True)
class Query:
    """One concept asked of one frame.

    Attributes:
        text: the words.
        members: (N,) bool, the objects that belong to the concept.
        positive: objects shown as positive exemplars.
        negative: objects shown as negative exemplars.
        as_points: show exemplars by a point instead of a box.
    """

    text: str
    members: npt.NDArray[np.bool_]
    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    as_points: bool = False


def draw_queries(
    rng: np.random.Generator, frame: SampledFrame, count: int, exemplar_rate: float
) -> list[Query]:
    """Concepts to ask of a frame: present, nearly present, absent, and by exemplar."""
    usable = np.flatnonzero(frame.usable)
    queries = []
    for _ in range(count):
        roll = rng.random()
        if len(usable) and roll < exemplar_rate:
            queries.append(_exemplar_query(rng, frame, usable))
        elif len(usable) and roll < exemplar_rate + 0.6 * (1 - exemplar_rate):
            queries.append(_present_query(rng, frame, usable))
        else:
            queries.append(_absent_query(rng, frame))
    return queries


def _members(frame: SampledFrame, concept: Concept) -> npt.NDArray[np.bool_]:
    pairs = zip(frame.colors, frame.shapes, strict=True)
    return np.asarray([concept.matches(*pair) for pair in pairs], dtype=np.bool_)


def _wording(rng: np.random.Generator, concept: Concept) -> str:
    phrases = phrasings(concept)
    return phrases[0] if rng.random() < 0.5 else str(rng.choice(phrases))


def _present_query(
    rng: np.random.Generator, frame: SampledFrame, usable: npt.NDArray[np.int64]
) -> Query:
    chosen = int(rng.choice(usable))
    color, shape = frame.colors[chosen], frame.shapes[chosen]
    roll = rng.random()
    if roll < 0.52:
        concept = Concept(color, shape)
    elif roll < 0.72:
        concept = Concept(None, shape)
    elif roll < 0.92:
        concept = Concept(color, None)
    else:
        concept = Concept(None, None)
    members = _members(frame, concept)
    shown = (chosen,) if rng.random() < 0.06 else ()
    return Query(_wording(rng, concept), members, positive=shown)


def _exemplar_query(
    rng: np.random.Generator, frame: SampledFrame, usable: npt.NDArray[np.int64]
) -> Query:
    """Exemplars alone: everything of the same colour and shape as the positive one."""
    chosen = int(rng.choice(usable))
    members = _members(frame, Concept(frame.colors[chosen], frame.shapes[chosen]))
    positive: tuple[int, ...] = (chosen,)
    twins = [int(i) for i in usable if members[i] and i != chosen]
    others = [int(i) for i in usable if not members[i]]
    if twins and rng.random() < 0.3:
        positive += (int(rng.choice(twins)),)
    negative = (int(rng.choice(others)),) if others and rng.random() < 0.25 else ()
    if len(positive) + len(negative) > MAX_BOXES:
        negative = ()
    return Query(VISUAL, members, positive, negative, as_points=bool(rng.random() < 0.35))


def _absent_query(rng: np.random.Generator, frame: SampledFrame) -> Query:
    """Words for what is not there: near misses, other concepts, unknown words."""
    nobody = np.zeros(len(frame.colors), dtype=np.bool_)
    roll = rng.random()
    if roll < 0.15:
        return Query(_unknown_words(rng), nobody)
    pool = _near_misses(frame) if roll < 0.65 else all_concepts(held_out=False)
    # A concept that shows too little of itself to be asked for is not absent either.
    seen = frame.coverage.sum((1, 2)) > 0
    pool = [concept for concept in pool if not (_members(frame, concept) & seen).any()]
    if not pool:
        return Query(_unknown_words(rng), nobody)
    return Query(_wording(rng, pool[int(rng.integers(0, len(pool)))]), nobody)


def _near_misses(frame: SampledFrame) -> list[Concept]:
    """Pairs whose colour is there and whose shape is there, but not together."""
    return [
        Concept(color, shape)
        for color in COLORS
        if color in frame.colors
        for shape in SHAPES
        if shape in frame.shapes and (color, shape) not in HELD_OUT
    ]


def _unknown_words(rng: np.random.Generator) -> str:
    roll = rng.random()
    if roll < 0.45:
        return str(rng.choice(ABSENT_NOUNS))
    if roll < 0.65:
        return f"{rng.choice(COLORS)} {rng.choice(ABSENT_NOUNS)}"
    if roll < 0.8:
        return f"{rng.choice(ABSENT_COLORS)} {rng.choice(SHAPES + GENERIC)}"
    if roll < 0.85:
        return str(rng.choice(ABSENT_COLORS))
    letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 9))))
    return letters if rng.random() < 0.5 else f"{rng.choice(COLORS)} {letters}"


def collate(
    rng: np.random.Generator,
    frames: list[SampledFrame],
    queries: list[list[Query]],
    tokenizer: Tokenizer,
) -> DetectorBatch:
    """Put frames and their queries into one padded batch."""
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
    return DetectorBatch(
        pixels=torch.from_numpy(np.stack([f.image for f in frames]))
        .permute(0, 3, 1, 2)
        .contiguous(),
        image_index=torch.tensor([index for index, _ in flat]),
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(attention, dtype=torch.bool),
        colors=torch.from_numpy(np.stack([d[0] for d in dense])),
        shapes=torch.from_numpy(np.stack([d[1] for d in dense])),
        edges=torch.from_numpy(np.stack([d[2] for d in dense])),
        owners=torch.from_numpy(np.stack([d[3] for d in dense])),
        stencils=torch.from_numpy(np.stack([_padded(frame.stencils) for frame in frames])),
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


def _padded(stencils: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    padded = np.zeros((MAX_TARGETS, stencils.shape[1]), np.float32)
    padded[: len(stencils)] = stencils
    return padded


def _dense_truth(
    frame: SampledFrame,
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]
]:
    """Colour number, shape number, edge distances and object number of each cell."""
    height, width = frame.coverage.shape[1:]
    owner = frame.coverage.argmax(0)
    inside = frame.coverage.max(0) >= 0.5
    color_of = np.asarray([COLORS.index(name) + 1 for name in frame.colors])
    shape_of = np.asarray([SHAPES.index(name) + 1 for name in frame.shapes])
    box = frame.boxes[owner]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    left, top = box[..., 0] - box[..., 2] / 2, box[..., 1] - box[..., 3] / 2
    edges = np.stack([x - left, y - top, left + box[..., 2] - x, top + box[..., 3] - y])
    return (
        np.where(inside, color_of[owner], 0),
        np.where(inside, shape_of[owner], 0),
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
    """

    side: int
    images: int
    concepts: int
    exemplar_rate: float
    split: Split
    first: int
    count: int
    stride: int = 1


def make_batch(plan: BatchPlan, number: int, tokenizer: Tokenizer) -> DetectorBatch:
    """The batch of this number; the same on every call."""
    seeds = range(number * plan.images, (number + 1) * plan.images)
    frames = [sample_frame(seed, plan.side, plan.split) for seed in seeds]
    rng = np.random.default_rng((number, 1234))
    queries = [draw_queries(rng, frame, plan.concepts, plan.exemplar_rate) for frame in frames]
    return collate(rng, frames, queries, tokenizer)


def batches(plan: BatchPlan, tokenizer: Tokenizer) -> Iterator[DetectorBatch]:
    """Iterate over a plan's batches. Rendering costs a tenth of a step, hence no workers."""
    for index in range(plan.count):
        yield make_batch(plan, plan.first + index * plan.stride, tokenizer)


def batch_sizes(batch: DetectorBatch) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a batch, for messages and tests."""
    return {field.name: tuple(getattr(batch, field.name).shape) for field in fields(batch)}
