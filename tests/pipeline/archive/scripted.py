"""Tools for indexing without a model: what is found is the number that each frame spells."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import PromptError
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.pipeline.video.tracking import SessionTracking
from tests.pipeline.scripted import BAD_WORD, ScriptedTracking

DELAY = 2


class ExactTracking(ScriptedTracking):
    """Its state holds boxes to the bit; records round them."""

    def state_dict(self) -> dict[str, Any]:
        boxes = [one.boxes_xywh.tolist() for one in self._held]
        return {**super().state_dict(), "boxes": boxes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._held = deque(
            replace(one, boxes_xywh=np.array(boxes, np.float32).reshape(-1, 4))
            for one, boxes in zip(self._held, state["boxes"], strict=True)
        )


class ScriptedTools:
    """Of ``IndexingTools``. Frames are tracked by ``ExactTracking``."""

    def new_tracking(self) -> SessionTracking:
        return cast(SessionTracking, ExactTracking(DELAY))

    def detect(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Sequence[Concept]]
    ) -> list[DetectedFrame]:
        return [
            DetectedFrame(cast(TrackerFeatures, image), cast(Detections, None)) for image in images
        ]

    def embed(self, text: str) -> list[float] | None:
        if text == BAD_WORD:
            raise PromptError(f"nobody knows what {text} looks like")
        return None
