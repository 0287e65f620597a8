"""Short clips with masklets to follow, for training and judging the tracker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data import SampledFrame, crowd_at, reduce_frame
from training.scenes import ClipRenderer, Split, make_clip

STRIDES = (1, 1, 1, 2, 4)
MAX_TRIES = 20


@dataclass(frozen=True, slots=True)
class TrackedClip:
    """T frames and N objects, all of them visible in the first frame.

    Attributes:
        pixels: (T, 3, S, S) uint8.
        coverage: (T, N, S/4, S/4) share of each cell that shows the object.
        boxes: (N, 4) x0 y0 x1 y1 in pixels, of the first frame.
    """

    pixels: Tensor
    coverage: Tensor
    boxes: Tensor

    def to_float(self) -> Tensor:
        """Pixels as the model wants them, (T, 3, S, S) in [-1, 1]."""
        return self.pixels.float() / 127.5 - 1.0

    @property
    def visible(self) -> Tensor:
        """(T, N) bool: at least one cell's worth of the object is seen."""
        return self.coverage.flatten(2).sum(-1) >= 1.0

    @property
    def hidden(self) -> Tensor:
        """(T, N) bool: nothing of the object is seen. What is neither is left out of the loss."""
        return self.coverage.flatten(2).sum(-1) == 0.0


def make_tracked_clip(
    number: int,
    side: int,
    num_frames: int,
    max_objects: int,
    split: Split,
    stride: int | None = None,
) -> TrackedClip:
    """The clip of this number.

    Every other clip is drawn until one of its objects goes out of sight, so that hiding and
    coming back are seen often.

    Args:
        number: of the clip.
        side: image side in pixels.
        num_frames: T.
        max_objects: most objects to follow.
        split: which clips.
        stride: frames from one to the next; None draws it.
    """
    rng = np.random.default_rng((number, 4321))
    for attempt in range(MAX_TRIES):
        step = int(rng.choice(STRIDES)) if stride is None else stride
        spec = make_clip(number * MAX_TRIES + attempt, split, **crowd_at(side, least=3))
        renderer = ClipRenderer(spec, (side, side), supersample=3)
        start = int(rng.integers(0, 300))
        frames = [reduce_frame(renderer.frame(start + step * t)) for t in range(num_frames)]
        if frames[0].usable.any() and (number % 2 or _something_hides(frames)):
            break
    return _tracked(rng, frames, max_objects, side)


def _something_hides(frames: list[SampledFrame]) -> bool:
    gone = np.stack([frame.coverage.sum((1, 2)) == 0 for frame in frames])
    return bool((gone.any(0) & frames[0].usable).any())


def _tracked(
    rng: np.random.Generator, frames: list[SampledFrame], max_objects: int, side: int
) -> TrackedClip:
    usable = np.flatnonzero(frames[0].usable)
    seen: npt.NDArray[np.float64] = np.stack([f.coverage.sum((1, 2)) > 0 for f in frames]).mean(0)
    # Those that hide first, the rest at random.
    order = usable[np.argsort(seen[usable] + rng.uniform(0, 0.5, len(usable)))]
    chosen = order[:max_objects]
    center, size = np.split(frames[0].boxes[chosen], 2, axis=1)
    corners = np.concatenate([center - size / 2, center + size / 2], 1) * side
    return TrackedClip(
        pixels=torch.from_numpy(np.stack([f.image for f in frames]))
        .permute(0, 3, 1, 2)
        .contiguous(),
        coverage=torch.from_numpy(np.stack([f.coverage[chosen] for f in frames])),
        boxes=torch.from_numpy(corners.astype(np.float32)),
    )


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Which clips: see :func:`make_tracked_clip`; ``count`` of them from ``first`` on."""

    side: int
    num_frames: int
    max_objects: int
    split: Split
    first: int
    count: int
    stride: int = 1


def tracked_clips(plan: ClipPlan) -> Iterator[TrackedClip]:
    """Iterate over a plan's clips; those without anything to follow are passed over."""
    for index in range(plan.count):
        number = plan.first + index * plan.stride
        clip = make_tracked_clip(number, plan.side, plan.num_frames, plan.max_objects, plan.split)
        if clip.coverage.shape[1]:
            yield clip
