"""Frames of procedural clips, with ground truth.

A ``ClipSpec`` is drawn from a seed and says everything about a clip; ``ClipRenderer`` turns any
frame of it into pixels at any size. World coordinates have unit area: a clip of aspect ratio a
is sqrt(a) wide and 1/sqrt(a) high, so that things are undistorted when the pixel size has the
same aspect ratio and squeezed, as the detector's square resize does, when it has not.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from training.names import KINDS
from training.outlines import OUTLINES, FloatArray
from training.spec import ClipSpec, ObjectSpec
from training.sprites import color_matrix, sprite, tinted
from training.textures import (
    family_texture,
    free_texture,
    muted_texture,
    paint_background,
)

# How much wider than the picture the backdrop is that a moving camera pans over.
_MARGIN = 1.6
# Half the side of the square that a texture is laid over, in units of the thing's radius.
_TEXTURE_HALF = 1.5


@dataclass(frozen=True, slots=True)
class Frame:
    """A rendered frame and its truth; N counts the clip's objects, hidden ones included.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        visible: (N, H, W) float32 in [0, 1], share of each pixel where the object is seen.
        amodal_area: (N,) float32, area in pixels inside the frame as if nothing covered it.
        obj_ids: (N,) int64.
        kinds: (N,) int64, number of each object's kind, -1 for those without a name.
        colors: (N,) int64, number of each object's colour, -1 for those without a named one.
    """

    image: npt.NDArray[np.uint8]
    visible: FloatArray
    amodal_area: FloatArray
    obj_ids: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    colors: npt.NDArray[np.int64]

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """(N, H, W) bool: pixels that show more of the object than of all else."""
        return self.visible >= 0.5


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one thing adds to a frame: coverage, and colour times coverage, in 0..255."""

    rows: slice
    columns: slice
    alpha: FloatArray
    color: FloatArray


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where a thing is: pixel = ``linear`` @ own coordinates + ``origin``."""

    linear: FloatArray
    origin: FloatArray

    def pixels(self, points: FloatArray) -> FloatArray:
        """(V, 2) own coordinates to pixels."""
        placed: FloatArray = points @ self.linear.T + self.origin
        return placed

    def sampling(
        self, corner: FloatArray, half: tuple[float, float], size: tuple[int, int]
    ) -> tuple[float, ...]:
        """Pillow's six numbers: from pixels of the box at ``corner`` to a picture's pixels.

        The picture of ``size`` (width, height) spans own coordinates from -``half`` to ``half``.
        """
        scale = np.asarray([size[0] / (2 * half[0]), size[1] / (2 * half[1])], np.float32)
        inverse = np.linalg.inv(self.linear) * scale[:, None]
        shift = inverse @ (corner - self.origin) + np.asarray(size, np.float32) / 2
        return (
            float(inverse[0, 0]), float(inverse[0, 1]), float(shift[0]),
            float(inverse[1, 0]), float(inverse[1, 1]), float(shift[1]),
        )  # fmt: skip


class ClipRenderer:
    """Renders frames of one clip at one size; what does not change is painted once."""

    def __init__(self, spec: ClipSpec, size: tuple[int, int], *, supersample: int = 4) -> None:
        """``size`` is (height, width) in pixels; edges are sampled ``supersample``² per pixel.

        Raises:
            ConfigError: the emoji's font is not installed.
        """
        self.spec = spec
        self.height, self.width = size
        self.supersample = supersample
        extent = spec.extent
        self._scale = np.asarray([size[1] / extent[0], size[0] / extent[1]], dtype=np.float32)
        self._light = _falloff(size, *spec.look.falloff)[..., None]
        self._curve = _curve(spec.look.gain, spec.look.gamma)
        self._pictures: dict[tuple[int, int], Image.Image] = {}
        self._blobs = {
            index: thing.blob()
            for index, thing in enumerate(spec.objects)
            if thing.outline == "blob"
        }

    @cached_property
    def _background(self) -> FloatArray:
        factor = _MARGIN if self.spec.camera.moves else 1.0
        size = (int(self.height * factor), int(self.width * factor))
        return paint_background(np.random.default_rng(self.spec.background), size)

    @cached_property
    def _wide(self) -> Image.Image:
        return Image.fromarray(self._background.astype(np.uint8))

    @cached_property
    def _noise(self) -> FloatArray:
        rng = np.random.default_rng((self.spec.background, 1))
        size = (self.height + 32, self.width + 32, 1)
        return rng.standard_normal(size, dtype=np.float32) * self.spec.look.noise

    def areas(self, frame_index: int) -> tuple[FloatArray, FloatArray]:
        """Visible and amodal area in pixels of every object, (N,) each, without painting."""
        layers = [self._layer(index, frame_index) for index in range(len(self.spec.objects))]
        visible, amodal = self._truth(layers)
        return visible.sum((1, 2)), amodal

    def frame(self, frame_index: int) -> Frame:
        """Pixels and truth of one frame."""
        canvas = self._backdrop(frame_index)
        layers: list[_Layer | None] = []
        for index in range(len(self.spec.objects)):
            layer = self._layer(index, frame_index)
            layers.append(layer)
            if layer is not None:
                region = canvas[layer.rows, layer.columns]
                region *= 1.0 - layer.alpha[..., None]
                region += layer.color
        return self._with_truth(self._developed(canvas, frame_index), layers)

    def _backdrop(self, frame_index: int) -> FloatArray:
        """(H, W, 3) in 0..255, a fresh array."""
        if not self.spec.camera.moves:
            return self._background.copy()
        x, y, zoom = self.spec.camera.at(frame_index)
        moved = np.asarray([x, y], np.float32) * self._scale
        middle = np.asarray([self.width, self.height], np.float32) / 2
        wide = np.asarray(self._wide.size, np.float32) / 2
        shift = wide - (middle + moved) / zoom
        numbers = (1 / zoom, 0.0, float(shift[0]), 0.0, 1 / zoom, float(shift[1]))
        seen = self._wide.transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            numbers,
            Image.Resampling.BILINEAR,
        )
        return np.asarray(seen, dtype=np.float32)

    def _developed(self, canvas: FloatArray, frame_index: int) -> npt.NDArray[np.uint8]:
        """Light, lens, sensor and compression."""
        look = self.spec.look
        canvas = canvas * self._light
        if look.blur > 0:
            radius = look.blur * math.sqrt(self.width * self.height)
            soft = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
            canvas = np.asarray(soft.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
        y, x = (frame_index * 7) % 32, (frame_index * 13) % 32
        canvas = canvas + self._noise[y : y + self.height, x : x + self.width]
        image = np.clip(canvas, 0, 255).astype(np.uint8)
        for channel in range(3):
            image[..., channel] = self._curve[channel][image[..., channel]]
        if look.quality:
            packed = io.BytesIO()
            Image.fromarray(image).save(packed, "JPEG", quality=look.quality)
            image = np.asarray(Image.open(packed).convert("RGB"))
        return image

    def _placement(self, thing: ObjectSpec, frame_index: int) -> _Placement:
        _, _, angle, radius = thing.track.at(frame_index)
        zoom = self.spec.camera.at(frame_index)[2]
        center = np.asarray(self.spec.center_at(thing, frame_index), np.float32)
        turn = np.asarray([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        lean = np.asarray([[1.0, -thing.shear], [0.0, 1.0]])
        linear = turn @ lean @ np.diag(thing.stretch) * (radius * zoom)
        return _Placement((linear * self._scale[:, None]).astype(np.float32), center * self._scale)

    def _layer(self, index: int, frame_index: int) -> _Layer | None:
        """What a thing adds within its bounding rectangle, or None if it is outside."""
        thing = self.spec.objects[index]
        placement = self._placement(thing, frame_index)
        if thing.outline == "sprite":
            half_x, half_y = sprite(_character(thing)).half
            outlines = (
                np.asarray(
                    [(-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y)],
                    np.float32,
                ),
            )
        elif thing.outline == "blob":
            outlines = (self._blobs[index],)
        else:
            outlines = OUTLINES[thing.outline]  # type: ignore[assignment]
        placed = [placement.pixels(outline) for outline in outlines]
        low = np.maximum(np.floor(placed[0].min(0)).astype(int), 0)
        high = np.minimum(np.ceil(placed[0].max(0)).astype(int), (self.width, self.height))
        if (high <= low).any():
            return None
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        if thing.outline == "sprite":
            alpha, color = self._sprite(index, placement, low, size)
        else:
            alpha = _polygon([outline - low for outline in placed], size, self.supersample)
            color = self._surface(index, placement, low, size) * alpha[..., None]
        color = color * _shading(alpha.shape, thing.surface.shade)[..., None]
        rows, columns = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
        return _Layer(rows, columns, alpha, color)

    def _sprite(
        self, index: int, placement: _Placement, low: npt.NDArray[np.int64], size: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        thing = self.spec.objects[index]
        source = sprite(_character(thing))
        longest = 2.0 * float(np.sqrt((placement.linear**2).sum(0)).max())
        level = source.level_for(longest)
        key = (index, level.shape[0])
        if key not in self._pictures:
            surface = thing.surface
            matrix = color_matrix(surface.hue, surface.saturation)
            self._pictures[key] = tinted(level, matrix, surface.gain, surface.contrast)
        picture = self._pictures[key]
        numbers = placement.sampling(low.astype(np.float32), source.half, picture.size)
        warped = picture.transform(size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
        pixels = np.asarray(warped, dtype=np.float32)
        return pixels[..., 3] / 255.0, pixels[..., :3]

    def _surface(
        self, index: int, placement: _Placement, low: npt.NDArray[np.int64], size: tuple[int, int]
    ) -> FloatArray:
        """Colours in 0..255, (3,) of a plain surface or (h, w, 3)."""
        surface = self.spec.objects[index].surface
        if surface.style == "plain":
            return np.asarray(surface.rgb, dtype=np.float32) * 255.0
        key = (index, 0)
        if key not in self._pictures:
            rng = np.random.default_rng(surface.seed)
            if surface.style == "family":
                texture = family_texture(rng, surface.rgb)
            else:
                texture = muted_texture(rng) if surface.style == "muted" else free_texture(rng)
            pixels = (texture.clip(0, 1) * 255.0).astype(np.uint8)
            self._pictures[key] = Image.fromarray(pixels)
        picture = self._pictures[key]
        half = (_TEXTURE_HALF, _TEXTURE_HALF)
        numbers = placement.sampling(low.astype(np.float32), half, picture.size)
        warped = picture.transform(size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
        return np.asarray(warped, dtype=np.float32)

    def _counted(self) -> list[int]:
        """Places of the things that are objects, in the order of their ids."""
        places = [index for index, thing in enumerate(self.spec.objects) if thing.obj_id >= 0]
        return sorted(places, key=lambda index: self.spec.objects[index].obj_id)

    def _truth(self, layers: list[_Layer | None]) -> tuple[FloatArray, FloatArray]:
        """(N, H, W) visible shares and (N,) amodal areas."""
        counted = self._counted()
        row_of = {index: row for row, index in enumerate(counted)}
        visible = np.zeros((len(counted), self.height, self.width), dtype=np.float32)
        amodal = np.zeros(len(counted), dtype=np.float32)
        free = np.ones((self.height, self.width), dtype=np.float32)
        for index in range(len(layers) - 1, -1, -1):
            layer = layers[index]
            if layer is None:
                continue
            if index in row_of:
                seen = layer.alpha * free[layer.rows, layer.columns]
                visible[row_of[index], layer.rows, layer.columns] = seen
                amodal[row_of[index]] = layer.alpha.sum()
            free[layer.rows, layer.columns] *= 1.0 - layer.alpha
        return visible, amodal

    def _with_truth(self, image: npt.NDArray[np.uint8], layers: list[_Layer | None]) -> Frame:
        visible, amodal = self._truth(layers)
        things = [self.spec.objects[index] for index in self._counted()]
        return Frame(
            image=image,
            visible=visible,
            amodal_area=amodal,
            obj_ids=np.asarray([thing.obj_id for thing in things], dtype=np.int64),
            kinds=np.asarray([thing.kind for thing in things], dtype=np.int64),
            colors=np.asarray([thing.color for thing in things], dtype=np.int64),
        )


def _character(thing: ObjectSpec) -> str:
    character = KINDS[thing.kind].character
    if character is None:
        raise ValueError(f"kind {thing.kind} is a shape and has no sprite")
    return character


def _polygon(outlines: list[FloatArray], size: tuple[int, int], factor: int) -> FloatArray:
    """(h, w) antialiased coverage of an outline; a second one is a hole."""
    stencil = Image.new("L", (size[0] * factor, size[1] * factor), 0)
    pen = ImageDraw.Draw(stencil)
    for outline, ink in zip(outlines, (255, 0), strict=False):
        # Pillow puts pixel centres at whole numbers, hence the half-sample shift.
        points = outline * factor - 0.5
        pen.polygon([(float(x), float(y)) for x, y in points], fill=ink)
    return np.asarray(stencil.reduce(factor), dtype=np.float32) / 255.0


def _shading(shape: tuple[int, ...], strength: float) -> FloatArray:
    """Light that falls off from the top left to the bottom right."""
    down = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    across = np.linspace(0, 1, shape[1], dtype=np.float32)[None]
    return 1.0 - strength * (down + across) * 0.5


def _falloff(size: tuple[int, int], strength: float, direction: float) -> FloatArray:
    """(H, W) factors of brightness, between 1 - ``strength`` / 2 and 1 + ``strength`` / 2."""
    down = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)[:, None]
    across = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)[None]
    slope = across * math.cos(direction) + down * math.sin(direction)
    return (1.0 + strength * slope).astype(np.float32)


def _curve(gain: tuple[float, float, float], gamma: float) -> npt.NDArray[np.uint8]:
    """(3, 256) what each level of each colour becomes."""
    level = np.linspace(0, 1, 256)[None] ** gamma * np.asarray(gain)[:, None]
    curve: npt.NDArray[np.uint8] = (level.clip(0, 1) * 255.0 + 0.5).astype(np.uint8)
    return curve
