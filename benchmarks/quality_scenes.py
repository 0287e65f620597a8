"""Clips that training cannot have seen, and what is truly in their frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.scenes import ClipRenderer, Frame
from training.spec import ClipSpec, ObjectSpec, make_clip, nameless
from training.vocabulary import Concept

SIZE = (360, 640)
"""Height and width of the frames, pixels."""
FIRST_SEED = 40_000_000
"""Where the seeds begin, far beyond those of training."""
UNSEEN = 2**31
"""Seeds of backgrounds and textures begin here; those of training end here."""
LEAST_AREA = 0.0012
LEAST_SHARE = 0.2
"""An object counts in a frame from this share of the frame's area, and of its own, on."""

LATEST_FRAME = 400
MAX_TRIES = 6


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool, what is seen of each object; no two overlap.
        counts: (N,) bool, enough is seen of it to be asked for.
        kinds, colors: (N,) int64, numbers in ``training.vocabulary``, -1 for none.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    colors: NDArray[np.int64]

    def members(self, concept: Concept) -> NDArray[np.bool_]:
        """(N,) bool: the objects that a concept is true of, seen or not."""
        pairs = zip(self.kinds.tolist(), self.colors.tolist(), strict=True)
        return np.asarray([concept.matches(kind, color) for kind, color in pairs], np.bool_)

    def rows(self, concept: Concept) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The members that count, and those that are seen, yet too little to count."""
        members = self.members(concept)
        seen = self.masks.any(axis=(1, 2))
        return np.flatnonzero(members & self.counts), np.flatnonzero(members & ~self.counts & seen)

    def truth(self, concept: Concept) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The masks of :meth:`rows`."""
        counting, ignored = self.rows(concept)
        return self.masks[counting], self.masks[ignored]


def scene_of(frame: Frame) -> Scene:
    """A rendered frame with its soft masks cut at one half."""
    area = frame.visible.sum((1, 2))
    masks = frame.masks
    enough = (area >= LEAST_AREA * frame.visible[0].size) if len(area) else np.zeros(0, np.bool_)
    counts = enough & (area >= LEAST_SHARE * frame.amodal_area) & masks.any(axis=(1, 2))
    return Scene(frame.image, masks, counts, frame.kinds, frame.colors)


def unseen_clip(number: int, num_objects: tuple[int, int]) -> ClipSpec:
    """A clip of its own seed, with a backdrop and textures of seeds that training never draws."""
    aspect = SIZE[1] / SIZE[0]
    spec = make_clip(FIRST_SEED + number, "validation", num_objects=num_objects, aspect=aspect)
    things = tuple(_with_unseen_texture(thing) for thing in spec.objects)
    return replace(spec, background=UNSEEN + number, objects=things)


def _with_unseen_texture(thing: ObjectSpec) -> ObjectSpec:
    return replace(thing, surface=replace(thing.surface, seed=UNSEEN + thing.surface.seed))


def only_blobs(spec: ClipSpec) -> ClipSpec:
    """The same clip with every named thing turned into a nameless one of unseen texture."""
    return nameless(spec, UNSEEN + 100 * spec.seed)


def featuring(spec: ClipSpec, kind: int) -> tuple[ClipSpec, int]:
    """The same clip with its first emoji turned into one of this kind.

    Returns:
        The clip and the row of that object in its scenes; -1 where the clip shows no emoji.
    """
    for place, thing in enumerate(spec.objects):
        if thing.outline == "sprite":
            changed = (*spec.objects[:place], replace(thing, kind=kind), *spec.objects[place + 1 :])
            before = sum(other.obj_id >= 0 for other in spec.objects if other.obj_id < thing.obj_id)
            return replace(spec, objects=changed), before
    return spec, -1


def render(spec: ClipSpec, num_frames: int) -> Iterator[Scene]:
    """The first frames of a clip."""
    renderer = ClipRenderer(spec, SIZE, supersample=3)
    for frame_index in range(num_frames):
        yield scene_of(renderer.frame(frame_index))


def render_seen(spec: ClipSpec, row: int, rng: np.random.Generator) -> Scene:
    """A frame of a clip in which an object is seen well, if a few random ones have it so."""
    renderer = ClipRenderer(spec, SIZE, supersample=3)
    for _ in range(MAX_TRIES):
        scene = scene_of(renderer.frame(int(rng.integers(0, LATEST_FRAME))))
        if row < 0 or scene.counts[row]:
            break
    return scene
