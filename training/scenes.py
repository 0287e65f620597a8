"""Procedural clips of coloured shapes, with ground truth.

A ``ClipSpec`` is drawn from a seed and says everything about a clip; ``ClipRenderer`` turns any
frame of it into pixels at any size. World coordinates have unit area: a clip of aspect ratio a
is sqrt(a) wide and 1/sqrt(a) high, so that shapes are undistorted when the pixel size has the
same aspect ratio and squeezed, as the detector's square resize does, when it has not.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.vocabulary import COLOR_RANGES, COLORS, SHAPES, TRAIN_PAIRS

FloatArray = npt.NDArray[np.float32]
Split = Literal["train", "validation", "held_out"]

# Seeds of the splits never meet: each split owns one residue and its own pairs.
_SPLIT_OFFSET: dict[Split, int] = {"train": 0, "validation": 1, "held_out": 2}
# How far shapes stand turned from upright at most, not counting their swaying.
MAX_ANGLE = 0.35
_ASPECTS: tuple[float, ...] = (1.0, 1.0, 4 / 3, 16 / 9, 16 / 9, 9 / 16)


@dataclass(frozen=True, slots=True)
class Track:
    """Smooth motion: a point that swings sinusoidally, sways and breathes.

    Positions and ``radius`` are world units; ``phase``, ``angle`` and ``sway`` radians; ``omega``
    radians per frame. ``sway`` is how far it turns to either side of ``angle``.
    """

    center: tuple[float, float]
    swing: tuple[float, float]
    omega: tuple[float, float]
    phase: tuple[float, float]
    angle: float
    sway: float
    radius: float
    breath: float

    def at(self, time: float) -> tuple[float, float, float, float]:
        """(x, y, angle, radius) at a frame number."""
        x = self.center[0] + self.swing[0] * math.sin(self.omega[0] * time + self.phase[0])
        y = self.center[1] + self.swing[1] * math.sin(self.omega[1] * time + self.phase[1])
        scale = 1.0 + self.breath * math.sin(0.5 * self.omega[0] * time + self.phase[1])
        turn = self.angle + self.sway * math.sin(0.7 * self.omega[1] * time + self.phase[0])
        return x, y, turn, self.radius * scale


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """One thing in a clip. Later objects of a clip lie above earlier ones.

    ``obj_id`` is -1 for occluders, which hide objects and belong to no concept.
    """

    obj_id: int
    shape: str
    color: str
    rgb: tuple[float, float, float]
    shade: float
    track: Track


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything there is to know about a clip; equal seeds and splits give equal specs."""

    seed: int
    aspect: float
    background: int
    noise: float
    objects: tuple[ObjectSpec, ...]

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in world units; their product is 1."""
        return math.sqrt(self.aspect), 1.0 / math.sqrt(self.aspect)


@dataclass(frozen=True, slots=True)
class Frame:
    """A rendered frame and its truth; N counts the clip's objects, hidden ones included.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        visible: (N, H, W) float32 in [0, 1], share of each pixel where the object is seen.
        amodal_area: (N,) float32, area in pixels inside the frame as if nothing covered it.
        obj_ids: (N,) int64.
        shapes: N shape names.
        colors: N colour names.
    """

    image: npt.NDArray[np.uint8]
    visible: FloatArray
    amodal_area: FloatArray
    obj_ids: npt.NDArray[np.int64]
    shapes: tuple[str, ...]
    colors: tuple[str, ...]

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """(N, H, W) bool: pixels that show more of the object than of all else."""
        return self.visible >= 0.5


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
) -> ClipSpec:
    """Draw a clip. In the split ``train`` and ``validation`` no held-out pair is drawn.

    Args:
        seed: any non-negative number.
        split: which pairs may appear and which stream of random numbers is used.
        num_objects: least and largest number of objects, inclusive.
        aspect: width over height; None draws one.
        zoom: size of the objects relative to the usual.
    """
    rng = clip_rng(seed, split)
    ratio = float(rng.choice(_ASPECTS)) if aspect is None else aspect
    extent = (math.sqrt(ratio), 1.0 / math.sqrt(ratio))
    count = int(rng.integers(num_objects[0], num_objects[1] + 1))
    pairs = _draw_pairs(rng, count, split)
    # Crowded clips get smaller shapes.
    largest = 0.2 if count <= 4 else 0.15
    objects = [
        _draw_object(rng, obj_id, color, shape, extent, (0.06 * zoom, largest * zoom))
        for obj_id, (color, shape) in enumerate(pairs)
    ]
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        objects.insert(int(rng.integers(0, len(objects) + 1)), _draw_occluder(rng, extent))
    return ClipSpec(
        seed=seed,
        aspect=ratio,
        background=int(rng.integers(0, 2**31)),
        noise=float(rng.uniform(0.0, 9.0)),
        objects=tuple(objects),
    )


def _draw_pairs(rng: np.random.Generator, count: int, split: Split) -> list[tuple[str, str]]:
    """Colour-shape pairs with enough repeats and near misses to make words necessary."""
    allowed = (
        [(color, shape) for color in COLORS for shape in SHAPES]
        if split == "held_out"
        else list(TRAIN_PAIRS)
    )
    pairs: list[tuple[str, str]] = []
    for _ in range(count):
        choices = allowed
        roll = rng.random()
        if pairs and roll < 0.55:
            color, shape = pairs[int(rng.integers(0, len(pairs)))]
            if roll < 0.18:
                choices = [(color, shape)]
            elif roll < 0.36:
                choices = [pair for pair in allowed if pair[0] == color]
            else:
                choices = [pair for pair in allowed if pair[1] == shape]
        pairs.append(choices[int(rng.integers(0, len(choices)))])
    return pairs


def _draw_track(
    rng: np.random.Generator,
    extent: tuple[float, float],
    radius: float,
    reach: float,
    max_angle: float,
) -> Track:
    def signed(low: float, high: float) -> float:
        return float(rng.uniform(low, high) * rng.choice([-1.0, 1.0]))

    omega = (signed(0.02, 0.11), signed(0.02, 0.11))
    return Track(
        center=(
            float(rng.uniform(0.12, 0.88)) * extent[0],
            float(rng.uniform(0.12, 0.88)) * extent[1],
        ),
        swing=(signed(0.05, reach) * extent[0], signed(0.05, reach) * extent[1]),
        omega=omega,
        phase=(float(rng.uniform(0, math.tau)), float(rng.uniform(0, math.tau))),
        angle=float(rng.uniform(-max_angle, max_angle)),
        sway=float(rng.uniform(0.0, 0.3)),
        radius=radius,
        breath=float(rng.uniform(0.0, 0.15)),
    )


def _draw_object(
    rng: np.random.Generator,
    obj_id: int,
    color: str,
    shape: str,
    extent: tuple[float, float],
    radii: tuple[float, float],
) -> ObjectSpec:
    radius = float(math.exp(rng.uniform(math.log(radii[0]), math.log(radii[1]))))
    return ObjectSpec(
        obj_id=obj_id,
        shape=shape,
        color=color,
        rgb=draw_rgb(rng, color),
        shade=float(rng.uniform(0.0, 0.18)),
        track=_draw_track(rng, extent, radius, reach=0.55, max_angle=MAX_ANGLE),
    )


def _draw_occluder(rng: np.random.Generator, extent: tuple[float, float]) -> ObjectSpec:
    """A long muted bar."""
    level = float(rng.uniform(0.1, 0.6))
    tint = rng.uniform(-0.05, 0.05, 3)
    return ObjectSpec(
        obj_id=-1,
        shape="bar",
        color="none",
        rgb=(level + float(tint[0]), level + float(tint[1]), level + float(tint[2])),
        shade=float(rng.uniform(0.0, 0.2)),
        track=_draw_track(
            rng, extent, float(rng.uniform(0.04, 0.1)), reach=0.12, max_angle=math.pi
        ),
    )


def draw_rgb(rng: np.random.Generator, color: str) -> tuple[float, float, float]:
    """A shade of a named colour, RGB in [0, 1]."""
    hue, saturation, value = COLOR_RANGES[color]
    red, green, blue = colorsys.hsv_to_rgb(
        (float(rng.uniform(*hue)) / 360.0) % 1.0,
        float(rng.uniform(*saturation)),
        float(rng.uniform(*value)),
    )
    return red, green, blue


def _regular(num_points: int, radii: tuple[float, ...]) -> FloatArray:
    """Vertices at equal angles from straight up, at radii taken in turn."""
    angles = np.arange(num_points) * (math.tau / num_points) - math.pi / 2
    lengths = np.resize(np.asarray(radii), num_points)
    return np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths], 1).astype(np.float32)


def _square() -> FloatArray:
    a = 0.88
    return np.asarray([(-a, -a), (a, -a), (a, a), (-a, a)], dtype=np.float32)


def _heart() -> FloatArray:
    t = np.linspace(0, math.tau, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return (np.stack([x, y], 1) / 15.5).astype(np.float32)


def _cross() -> FloatArray:
    a, b = 0.34, 1.05
    corner = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
    corner += [(a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]
    return np.asarray(corner, dtype=np.float32)


#: Outline of each shape around the origin at radius 1; the second outline, if any, is a hole.
OUTLINES: dict[str, tuple[FloatArray, ...]] = {
    "circle": (_regular(48, (1.0,)),),
    "square": (_square(),),
    "triangle": (_regular(3, (1.3,)),),
    "star": (_regular(10, (1.25, 0.52)),),
    "cross": (_cross(),),
    "ring": (_regular(48, (1.08,)), _regular(48, (0.58,))),
    "heart": (_heart(),),
    "bar": (np.asarray([(-1, -14), (1, -14), (1, 14), (-1, 14)], dtype=np.float32),),
}


class ClipRenderer:
    """Renders frames of one clip at one size; the background is painted once."""

    def __init__(self, spec: ClipSpec, size: tuple[int, int], *, supersample: int = 4) -> None:
        """``size`` is (height, width) in pixels; edges are sampled ``supersample``² per pixel."""
        self.spec = spec
        self.height, self.width = size
        self.supersample = supersample
        rng = np.random.default_rng(spec.background)
        self._background = paint_background(rng, size)
        tile = rng.normal(0.0, spec.noise, (self.height + 32, self.width + 32, 1))
        self._noise = tile.astype(np.float32)

    def frame(self, frame_index: int) -> Frame:
        """Pixels and truth of one frame."""
        canvas = self._background.copy()
        layers: list[tuple[ObjectSpec, slice, slice, FloatArray] | None] = []
        for thing in self.spec.objects:
            layer = self._coverage(thing, frame_index)
            layers.append(layer)
            if layer is not None:
                _, rows, columns, alpha = layer
                color = np.asarray(thing.rgb, dtype=np.float32) * 255.0
                light = _shading(alpha.shape, thing.shade)[..., None]
                region = canvas[rows, columns]
                region += alpha[..., None] * (color * light - region)
        y, x = (frame_index * 7) % 32, (frame_index * 13) % 32
        canvas += self._noise[y : y + self.height, x : x + self.width]
        np.clip(canvas, 0, 255, out=canvas)
        return self._with_truth(canvas.astype(np.uint8), layers)

    def _coverage(
        self, thing: ObjectSpec, frame_index: int
    ) -> tuple[ObjectSpec, slice, slice, FloatArray] | None:
        """Antialiased coverage of one object within its bounding rectangle, or None if outside."""
        x, y, angle, radius = thing.track.at(frame_index)
        extent = self.spec.extent
        scale = np.asarray([self.width / extent[0], self.height / extent[1]], dtype=np.float32)
        turn = np.asarray(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]],
            dtype=np.float32,
        )
        center = np.asarray([x, y], dtype=np.float32)
        outlines = [((line * radius) @ turn + center) * scale for line in OUTLINES[thing.shape]]
        low = np.maximum(np.floor(outlines[0].min(0)).astype(int), 0)
        high = np.minimum(np.ceil(outlines[0].max(0)).astype(int), (self.width, self.height))
        if (high <= low).any():
            return None
        factor = self.supersample
        width, height = (int(v) for v in high - low)
        stencil = Image.new("L", (width * factor, height * factor), 0)
        pen = ImageDraw.Draw(stencil)
        for outline, ink in zip(outlines, (255, 0), strict=False):
            # Pillow puts pixel centres at whole numbers, hence the half-sample shift.
            points = (outline - low) * factor - 0.5
            pen.polygon([(float(px), float(py)) for px, py in points], fill=ink)
        alpha = np.asarray(stencil.reduce(factor), dtype=np.float32) / 255.0
        return thing, slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])), alpha

    def _with_truth(
        self,
        image: npt.NDArray[np.uint8],
        layers: list[tuple[ObjectSpec, slice, slice, FloatArray] | None],
    ) -> Frame:
        named = [index for index, thing in enumerate(self.spec.objects) if thing.obj_id >= 0]
        named.sort(key=lambda index: self.spec.objects[index].obj_id)
        row_of = {index: row for row, index in enumerate(named)}
        visible = np.zeros((len(named), self.height, self.width), dtype=np.float32)
        amodal = np.zeros(len(named), dtype=np.float32)
        free = np.ones((self.height, self.width), dtype=np.float32)
        for index in range(len(layers) - 1, -1, -1):
            layer = layers[index]
            if layer is None:
                continue
            _, rows, columns, alpha = layer
            if index in row_of:
                visible[row_of[index], rows, columns] = alpha * free[rows, columns]
                amodal[row_of[index]] = alpha.sum()
            free[rows, columns] *= 1.0 - alpha
        things = [self.spec.objects[index] for index in named]
        return Frame(
            image=image,
            visible=visible,
            amodal_area=amodal,
            obj_ids=np.asarray([thing.obj_id for thing in things], dtype=np.int64),
            shapes=tuple(thing.shape for thing in things),
            colors=tuple(thing.color for thing in things),
        )


def _shading(shape: tuple[int, ...], strength: float) -> FloatArray:
    """Light that falls off from the top left to the bottom right."""
    down = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    across = np.linspace(0, 1, shape[1], dtype=np.float32)[None]
    return 1.0 - strength * (down + across) * 0.5


def paint_background(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A muted backdrop, (H, W, 3) float32 in 0..255: gradient, blotches, stripes or checks."""
    height, width = size

    def muted() -> FloatArray:
        level = rng.uniform(0.05, 0.66)
        return np.asarray((level + rng.uniform(-0.06, 0.06, 3)) * 255.0, dtype=np.float32)

    first, second = muted(), muted()
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(0, 1, width, dtype=np.float32)[None]
    style = int(rng.integers(0, 5))
    if style == 0:
        blend = np.full((height, width), 0.0, dtype=np.float32)
    elif style == 1:
        turn = rng.uniform(0, math.tau)
        slope = (across - 0.5) * math.cos(turn) + (down - 0.5) * math.sin(turn)
        blend = np.clip(slope + 0.5, 0, 1).astype(np.float32)
    elif style == 2:
        cells = int(rng.integers(3, 14))
        coarse = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        blend = np.asarray(smooth, dtype=np.float32) / 255.0
    elif style == 3:
        turn, waves = rng.uniform(0, math.tau), rng.uniform(3, 16)
        wave = np.sin((across * math.cos(turn) + down * math.sin(turn)) * waves * math.tau)
        blend = (np.clip(wave * 4, -1, 1) * 0.5 + 0.5).astype(np.float32)
        second = first + (second - first) * 0.4
    else:
        cells = int(rng.integers(3, 12))
        odd = (np.floor(across * cells) + np.floor(down * cells)) % 2
        blend = odd.astype(np.float32)
        second = first + (second - first) * 0.4
    return first + blend[..., None] * (second - first)
