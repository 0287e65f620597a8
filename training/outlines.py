"""Outlines of shapes, of nameless things and of what hides them, around the origin."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def _regular(num_points: int, radii: tuple[float, ...]) -> FloatArray:
    """Vertices at equal angles from straight up, at radii taken in turn."""
    angles = np.arange(num_points) * (math.tau / num_points) - math.pi / 2
    lengths = np.resize(np.asarray(radii), num_points)
    return np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths], 1).astype(np.float32)


def _rectangle(half_width: float, half_height: float) -> FloatArray:
    a, b = half_width, half_height
    return np.asarray([(-a, -b), (a, -b), (a, b), (-a, b)], dtype=np.float32)


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


#: Outline of each shape at radius 1; the second outline, if any, is a hole.
OUTLINES: dict[str, tuple[FloatArray, ...]] = {
    "circle": (_regular(48, (1.0,)),),
    "square": (_rectangle(0.88, 0.88),),
    "triangle": (_regular(3, (1.3,)),),
    "star": (_regular(10, (1.25, 0.52)),),
    "cross": (_cross(),),
    "ring": (_regular(48, (1.08,)), _regular(48, (0.58,))),
    "heart": (_heart(),),
    "bar": (_rectangle(1, 14),),
    "box": (_rectangle(0.7, 1.4),),
}


def blob_outline(rng: np.random.Generator) -> FloatArray:
    """A closed outline like that of a pebble, a puddle or a shard, (V, 2), within radius 1.2."""
    if rng.random() < 0.25:
        num_corners = int(rng.integers(5, 9))
        turns = np.sort(rng.uniform(-0.3, 0.3, num_corners) + np.arange(num_corners))
        angles = turns * (math.tau / num_corners)
        lengths = rng.uniform(0.5, 1.2, num_corners)
    else:
        angles = np.linspace(0, math.tau, 64, endpoint=False)
        lengths = np.ones_like(angles)
        for wave in range(2, 7):
            strength = rng.uniform(0.05, 0.5) / wave
            lengths += strength * np.cos(wave * angles + rng.uniform(0, math.tau))
        lengths *= 1.15 / lengths.max()
    squeeze = rng.uniform(0.55, 1.0)
    points = np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths * squeeze], 1)
    return points.astype(np.float32)
