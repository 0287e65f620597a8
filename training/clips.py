"""Short clips with masklets to follow, for training and judging the tracker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.frames import SampledFrame, crowd_at, reduce_frame
from training.scenes import ClipRenderer
from training.spec import ClipSpec, Split, make_clip, nameless

STRIDES = (1, 1, 2, 3, 5)
MAX_TRIES = 20
# Stretches of each clip that are looked at for hiding objects, at a size of so many pixels.
NUM_STRETCHES = 5
PREVIEW_SIDE = 40
LAST_SEED = 2**31 - 100
"""Where the seeds of a nameless clip's textures begin at the latest."""


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

    def to(self, device: torch.device) -> TrackedClip:
        """The same clip on a device."""
        return TrackedClip(self.pixels.to(device), self.coverage.to(device), self.boxes.to(device))

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
    hiding_rate: float = 0.5,
    nameless_rate: float = 0.0,
) -> TrackedClip:
    """The clip of this number.

    In some clips one of the objects goes out of sight, and often returns, where such a stretch
    can be found, so that hiding and coming back are seen often.

    Args:
        number: of the clip.
        side: image side in pixels.
        num_frames: T.
        max_objects: most objects to follow.
        split: which clips.
        stride: frames from one to the next; None draws it.
        hiding_rate: how many of the clips are looked through for such a stretch.
        nameless_rate: in how many of the clips nothing has a name.
    """
    rng = np.random.default_rng((number, 4321))
    hides = np.random.default_rng((number, 8765)).random() < hiding_rate
    textures = np.random.default_rng((number, 2468))
    has_names = textures.random() >= nameless_rate
    frames: list[SampledFrame] = []
    for attempt in range(MAX_TRIES):
        seed = number * MAX_TRIES + attempt
        spec = make_clip(seed, split, **crowd_at(side, least=3))
        if not has_names:
            spec = nameless(spec, int(textures.integers(0, LAST_SEED)))
        moments = _moments(rng, num_frames, stride)
        if num_frames > 1 and hides:
            hiding = _find_hiding(rng, spec, num_frames, stride)
            # The last try takes what there is.
            if not hiding and attempt + 1 < MAX_TRIES:
                continue
            moments = hiding or moments
        renderer = ClipRenderer(spec, (side, side), supersample=3)
        frames = [reduce_frame(renderer.frame(moment)) for moment in moments]
        if frames[0].usable.any():
            break
    return _tracked(rng, frames, max_objects, side)


def _moments(rng: np.random.Generator, num_frames: int, stride: int | None) -> list[int]:
    """Numbers of a stretch of frames."""
    step = int(rng.choice(STRIDES)) if stride is None else stride
    start = int(rng.integers(0, 300))
    return [start + step * t for t in range(num_frames)]


def _find_hiding(
    rng: np.random.Generator, spec: ClipSpec, num_frames: int, stride: int | None
) -> list[int]:
    """A stretch in which an object that is well seen at first hides; empty if none was found.

    One in which it returns is taken before one in which it does not.
    """
    preview = ClipRenderer(spec, (PREVIEW_SIDE, PREVIEW_SIDE), supersample=2)
    best: list[int] = []
    for _ in range(NUM_STRETCHES):
        moments = _moments(rng, num_frames, stride)
        areas = [preview.areas(moment) for moment in moments]
        seen = np.stack([visible for visible, _ in areas])
        begins = seen[0] >= 0.5 * areas[0][1]
        begins &= areas[0][1] >= 8.0
        gone = (seen[1:] == 0).any(0) & begins
        returns = (seen[1:-1] == 0).any(0) & begins & (seen[-1] >= 8.0)
        if returns.any():
            return moments
        if gone.any() and not best:
            best = moments
    return best


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
