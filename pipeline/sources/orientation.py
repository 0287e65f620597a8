"""The rotation and mirroring that a container asks its player to apply."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """Turns a coded picture into the shown one: a transposition, then mirrorings."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as coded → (H, W, 3) or (W, H, 3) as shown."""
        if self.transposed:
            image = image.transpose(1, 0, 2)
        if self.mirrored_x:
            image = image[:, ::-1]
        if self.mirrored_y:
            image = image[::-1]
        return np.ascontiguousarray(image)

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Coded (width, height) → shown (width, height)."""
        return (height, width) if self.transposed else (width, height)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read a frame's display matrix.

    The matrix (ISO/IEC 14496-12, 6.2.2) maps coded coordinates to shown ones: x' = a·x + c·y,
    y' = b·x + d·y. Other angles are rounded to the nearest multiple of 90°.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, mirrored_x=c < 0, mirrored_y=b < 0)
    return Orientation(mirrored_x=a < 0, mirrored_y=d < 0)
