"""How things and the camera move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


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
class Camera:
    """A slow pan and zoom: ``pan`` in world units, ``zoom`` a share, ``omega`` per frame."""

    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 0.0
    omega: float = 0.0
    phase: float = 0.0

    def at(self, time: float) -> tuple[float, float, float]:
        """How far the world has moved in x and y, and by what it is enlarged."""
        swing = math.sin(self.omega * time + self.phase)
        other = math.sin(0.7 * self.omega * time + 2 * self.phase)
        return self.pan[0] * swing, self.pan[1] * other, 1.0 + self.zoom * other

    @property
    def moves(self) -> bool:
        """Whether it does anything at all."""
        return self.omega > 0


def draw_track(
    rng: np.random.Generator,
    extent: tuple[float, float],
    radius: float,
    reach: float,
    max_angle: float,
) -> Track:
    """A track through most of the picture.

    Args:
        rng: where choices come from.
        extent: width and height of the picture in world units.
        radius: of the thing.
        reach: how far it swings at most, in shares of the picture.
        max_angle: how far it is turned at most, in radians.
    """

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
        sway=float(rng.uniform(0.0, 0.2)),
        radius=radius,
        breath=float(rng.uniform(0.0, 0.15)),
    )


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera that moves in one clip out of three."""
    if rng.random() >= 1 / 3:
        return Camera()
    pan = (float(rng.uniform(-0.15, 0.15)), float(rng.uniform(-0.15, 0.15)))
    omega, phase = float(rng.uniform(0.01, 0.05)), float(rng.uniform(0, math.tau))
    return Camera(pan, float(rng.uniform(0.0, 0.12)), omega, phase)
