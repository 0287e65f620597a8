"""A video that ends the process of whoever looks at it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskstream.detector.frames import Concept, DetectedFrame
from tests.pipeline.archive.scripted import ScriptedTools
from tests.pipeline.clips import number_in, numbered_image, write_clip

POISON = 1000


class PoisonTools(ScriptedTools):
    """Dies at pictures that spell ``POISON`` or more, as a decoder with a bug may."""

    def detect(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Sequence[Concept]]
    ) -> list[DetectedFrame]:
        if any(number_in(image) >= POISON for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(images, concepts)


def write_poison(path: Path) -> Path:
    """A clip whose second chunk holds the poison."""
    numbers = [*range(20), *[POISON] * 4]
    return write_clip(path, [numbered_image(number) for number in numbers], options={"g": "8"})
