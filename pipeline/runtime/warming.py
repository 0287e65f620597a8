"""What a track worker does before its first session, so that this finds everything in place."""

from __future__ import annotations

import numpy as np

from pipeline.runtime.applying import Detector
from pipeline.tracking import FramePlace, SessionTracking, detection_rules
from workers.track import Tools

_NUM_FRAMES = 3
_SIZE = (48, 64)


def play_blank_frames(tools: Tools) -> None:
    """Detect and track on black frames: kernels are loaded then, and memory is there."""
    tracking = SessionTracking(tools.tracker, tools.config, latency="live")
    detector = Detector(tools.detecting, "blank", detection_rules(tools.config, None))
    tracking.add_concept("anything")
    mask = np.zeros(_SIZE, np.bool_)
    mask[:24, :32] = True
    for index in range(_NUM_FRAMES):
        answer = detector.answer(np.zeros((*_SIZE, 3), np.uint8), tracking.concepts)
        place = FramePlace(index, None, _SIZE)
        if index == 0:
            tracking.add_object(place, answer.features, mask=mask)
        tracking.step(place, answer.features, answer.detections)
