"""What a clip shows, drawn from a seed: things, their looks and motion, light and camera."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from training.motion import Camera, Track, draw_camera, draw_track
from training.names import KINDS, SHAPES
from training.outlines import FloatArray, blob_outline
from training.textures import Color
from training.vocabulary import ALL_PAIRS, COLOR_RANGES, COLORS, TRAIN_PAIRS, similar_kinds

Split = Literal["train", "validation", "held_out"]

# Seeds of the splits never meet: each split owns one residue and its own pairs.
_SPLIT_OFFSET: dict[Split, int] = {"train": 0, "validation": 1, "held_out": 2}
# How far things stand turned from upright at most, not counting their swaying.
MAX_ANGLE = 0.35
# Share of emoji and of shapes among things; the rest has no name.
EMOJI_SHARE, SHAPE_SHARE = 0.60, 0.25
UNNAMED = -1
_ASPECTS: tuple[float, ...] = (1.0, 1.0, 4 / 3, 16 / 9, 16 / 9, 9 / 16)


@dataclass(frozen=True, slots=True)
class Look:
    """Light and camera of a whole clip.

    Attributes:
        gain: factor of each colour.
        gamma: exponent of brightness.
        falloff: strength of a gradient of light, and its direction in radians.
        noise: standard deviation of the sensor's noise, of 255.
        blur: radius in shares of the picture's side, 0 for none.
        quality: of JPEG compression, 0 for none.
    """

    gain: Color = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    falloff: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    blur: float = 0.0
    quality: int = 0


@dataclass(frozen=True, slots=True)
class Surface:
    """How a thing is coloured.

    Attributes:
        style: "sprite", "plain", "family" (a pattern of one colour), "free" (of any colours) or
            "muted" (of dull ones).
        rgb: the colour in [0, 1], for "plain" and "family".
        seed: what patterns are drawn from.
        shade: how much darker its lower right is.
        hue: turn of a sprite's colours in radians.
        saturation: factor of a sprite's.
        gain: factor of a sprite's brightness.
        contrast: factor of a sprite's.
    """

    style: Literal["sprite", "plain", "family", "free", "muted"]
    rgb: Color = (0.5, 0.5, 0.5)
    seed: int = 0
    shade: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    gain: float = 1.0
    contrast: float = 1.0


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """One thing in a clip. Later things of a clip lie above earlier ones.

    Attributes:
        obj_id: -1 for occluders, which hide things and belong to no concept.
        kind: number of its kind, -1 for what has no name.
        color: number of its colour, -1 for what is not of a named colour.
        outline: name of the outline in ``OUTLINES``, "sprite" or "blob".
        stretch: factors of width and height; a negative width mirrors it.
        shear: how far its top leans to the right.
        surface: how it is coloured.
        track: how it moves.
    """

    obj_id: int
    kind: int
    color: int
    outline: str
    stretch: tuple[float, float]
    shear: float
    surface: Surface
    track: Track

    def blob(self) -> FloatArray:
        """The outline of a nameless thing."""
        return blob_outline(np.random.default_rng(self.surface.seed))


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything there is to know about a clip; equal seeds and splits give equal specs."""

    seed: int
    aspect: float
    background: int
    look: Look
    camera: Camera
    objects: tuple[ObjectSpec, ...]

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in world units; their product is 1."""
        return math.sqrt(self.aspect), 1.0 / math.sqrt(self.aspect)

    def center_at(self, thing: ObjectSpec, time: float) -> tuple[float, float]:
        """Where the camera sees the middle of a thing, in world units."""
        x, y, _, _ = thing.track.at(time)
        pan_x, pan_y, zoom = self.camera.at(time)
        half_x, half_y = self.extent[0] / 2, self.extent[1] / 2
        return (x - half_x) * zoom + half_x + pan_x, (y - half_y) * zoom + half_y + pan_y

    def num_inside(self, time: float) -> int:
        """Number of objects, occluders not counted, with their middle inside the picture."""
        total = 0
        for thing in self.objects:
            x, y = self.center_at(thing, time)
            inside = 0 < x < self.extent[0] and 0 < y < self.extent[1]
            total += inside and thing.obj_id >= 0
        return total


def clip_rng(seed: int, split: Split) -> np.random.Generator:
    """The generator all choices about a clip come from."""
    return np.random.default_rng((0x5A3, _SPLIT_OFFSET[split], seed))


def make_clip(
    seed: int,
    split: Split = "train",
    *,
    num_objects: tuple[int, int] = (1, 9),
    aspect: float | None = None,
    zoom: float = 1.0,
    named_only: bool = False,
) -> ClipSpec:
    """Draw a clip. In the split ``train`` and ``validation`` no held-out pair is drawn.

    Args:
        seed: any non-negative number.
        split: which pairs may appear and which stream of random numbers is used.
        num_objects: least and largest number of objects, inclusive.
        aspect: width over height; None draws one.
        zoom: size of the objects relative to the usual.
        named_only: whether to leave out things that have no name.
    """
    rng = clip_rng(seed, split)
    ratio = float(rng.choice(_ASPECTS)) if aspect is None else aspect
    extent = (math.sqrt(ratio), 1.0 / math.sqrt(ratio))
    count = int(rng.integers(num_objects[0], num_objects[1] + 1))
    pairs = _draw_pairs(rng, count, split, named_only)
    # Crowded clips get smaller things.
    largest = 0.2 if count <= 4 else 0.15
    objects = [
        _draw_object(rng, obj_id, pair, extent, zoom, largest) for obj_id, pair in enumerate(pairs)
    ]
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        objects.insert(int(rng.integers(0, len(objects) + 1)), _draw_occluder(rng, extent))
    return ClipSpec(
        seed=seed,
        aspect=ratio,
        background=int(rng.integers(0, 2**31)),
        look=_draw_look(rng),
        camera=draw_camera(rng),
        objects=tuple(objects),
    )


def nameless(spec: ClipSpec, first_seed: int) -> ClipSpec:
    """The same clip with everything that has a name turned into something that has none.

    Args:
        spec: the clip.
        first_seed: textures and outlines have this seed and those that follow, one a place.
    """
    things = tuple(
        thing if thing.obj_id < 0 else _without_name(thing, first_seed + place)
        for place, thing in enumerate(spec.objects)
    )
    return replace(spec, objects=things)


def _without_name(thing: ObjectSpec, seed: int) -> ObjectSpec:
    surface = Surface("free", seed=seed)
    return replace(thing, kind=UNNAMED, color=-1, outline="blob", surface=surface)


def _draw_pairs(
    rng: np.random.Generator, count: int, split: Split, named_only: bool
) -> list[tuple[int, int]]:
    """(colour, kind) of each thing, with enough repeats and near misses to make words necessary."""
    allowed = ALL_PAIRS if split == "held_out" else TRAIN_PAIRS
    pairs: list[tuple[int, int]] = []
    for _ in range(count):
        named = [pair for pair in pairs if pair[1] != UNNAMED]
        if named and rng.random() < 0.5:
            model = named[int(rng.integers(0, len(named)))]
            pairs.append(_draw_relative(rng, model, allowed))
        else:
            pairs.append(_draw_fresh(rng, allowed, named_only))
    return pairs


def _draw_fresh(
    rng: np.random.Generator, allowed: tuple[tuple[int, int], ...], named_only: bool
) -> tuple[int, int]:
    roll = rng.random() * (EMOJI_SHARE + SHAPE_SHARE if named_only else 1.0)
    if roll < EMOJI_SHARE:
        return -1, int(rng.integers(len(SHAPES), len(KINDS)))
    if roll < EMOJI_SHARE + SHAPE_SHARE:
        return allowed[int(rng.integers(0, len(allowed)))]
    return -1, UNNAMED


def _draw_relative(
    rng: np.random.Generator, model: tuple[int, int], allowed: tuple[tuple[int, int], ...]
) -> tuple[int, int]:
    """The same again, or something that shares colour, shape or group with it."""
    color, kind = model
    roll = rng.random()
    if roll < 0.4:
        return model
    if color < 0:
        near = similar_kinds(kind)
        return (-1, near[int(rng.integers(0, len(near)))]) if near else model
    place = 0 if roll < 0.7 else 1
    near_pairs = [pair for pair in allowed if pair[place] == model[place]]
    return near_pairs[int(rng.integers(0, len(near_pairs)))]


def _draw_object(
    rng: np.random.Generator,
    obj_id: int,
    pair: tuple[int, int],
    extent: tuple[float, float],
    zoom: float,
    largest: float,
) -> ObjectSpec:
    color, kind = pair
    # Pictures of things need more room than plain shapes to be told apart.
    smallest = 0.06 if color >= 0 else 0.08
    radius = float(math.exp(rng.uniform(math.log(smallest * zoom), math.log(largest * zoom))))
    squeeze = float(rng.uniform(0.85, 1.12))
    mirrored = color < 0 and rng.random() < 0.5
    if kind == UNNAMED:
        outline, surface = "blob", Surface("free", seed=int(rng.integers(0, 2**31)))
    elif color < 0:
        outline, surface = "sprite", _draw_tint(rng)
    else:
        outline, surface = SHAPES[kind], _draw_paint(rng, color)
    max_angle = math.pi if kind == UNNAMED else MAX_ANGLE
    return ObjectSpec(
        obj_id=obj_id,
        kind=kind,
        color=color,
        outline=outline,
        stretch=(-squeeze if mirrored else squeeze, float(rng.uniform(0.92, 1.08))),
        shear=float(rng.uniform(-0.12, 0.12)),
        surface=surface,
        track=draw_track(rng, extent, radius, reach=0.55, max_angle=max_angle),
    )


def _draw_tint(rng: np.random.Generator) -> Surface:
    """Small changes of an emoji's colours that leave it what it is."""
    return Surface(
        "sprite",
        shade=float(rng.uniform(0.0, 0.25)),
        hue=math.radians(float(rng.uniform(-8, 8))),
        saturation=float(rng.uniform(0.75, 1.25)),
        gain=float(rng.uniform(0.8, 1.15)),
        contrast=float(rng.uniform(0.8, 1.2)),
    )


def _draw_paint(rng: np.random.Generator, color: int) -> Surface:
    return Surface(
        "plain" if rng.random() < 0.5 else "family",
        rgb=draw_rgb(rng, COLORS[color]),
        seed=int(rng.integers(0, 2**31)),
        shade=float(rng.uniform(0.0, 0.18)),
    )


def _draw_occluder(rng: np.random.Generator, extent: tuple[float, float]) -> ObjectSpec:
    """A long dull bar, or a dull rectangle with a pattern."""
    bar = rng.random() < 0.6
    level = float(rng.uniform(0.1, 0.6))
    tint = rng.uniform(-0.05, 0.05, 3)
    rgb = (level + float(tint[0]), level + float(tint[1]), level + float(tint[2]))
    radius = float(rng.uniform(0.04, 0.1) if bar else rng.uniform(0.1, 0.2))
    return ObjectSpec(
        obj_id=-1,
        kind=UNNAMED,
        color=-1,
        outline="bar" if bar else "box",
        stretch=(1.0, 1.0),
        shear=0.0,
        surface=Surface(
            "plain" if bar else "muted",
            rgb=rgb,
            seed=int(rng.integers(0, 2**31)),
            shade=float(rng.uniform(0.0, 0.2)),
        ),
        track=draw_track(rng, extent, radius, reach=0.12, max_angle=math.pi),
    )


def _draw_look(rng: np.random.Generator) -> Look:
    gain = float(rng.uniform(0.82, 1.12))
    red, green, blue = (gain * (1 + rng.uniform(-0.05, 0.05, 3))).tolist()
    return Look(
        gain=(red, green, blue),
        gamma=float(rng.uniform(0.85, 1.2)),
        falloff=(float(rng.uniform(0.0, 0.3)), float(rng.uniform(0, math.tau))),
        noise=float(9.0 * rng.random() ** 2),
        blur=float(rng.uniform(0.001, 0.0035)) if rng.random() < 0.25 else 0.0,
        quality=int(rng.integers(40, 91)) if rng.random() < 0.3 else 0,
    )


def draw_rgb(rng: np.random.Generator, color: str) -> Color:
    """A shade of a named colour, RGB in [0, 1]."""
    hue, saturation, value = COLOR_RANGES[color]
    return colorsys.hsv_to_rgb(
        (float(rng.uniform(*hue)) / 360.0) % 1.0,
        float(rng.uniform(*saturation)),
        float(rng.uniform(*value)),
    )
