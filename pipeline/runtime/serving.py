"""What runs inside a track worker: the sessions it serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskstream.core.errors import SessionNotFoundError
from maskstream.pipeline.runtime.feeds import open_feed
from maskstream.pipeline.session.detection import Detector
from maskstream.pipeline.session.opening import RunnerConfig
from maskstream.pipeline.session.runner import SessionRunner
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.video.tracking import FramePlace, SessionTracking, detection_rules
from maskstream.workers.memory import give_back_memory
from maskstream.workers.track import Tools

_NUM_FRAMES = 3
_SIZE = (48, 64)


class StoreServer:
    """Serves sessions of one store; see :class:`maskstream.workers.track.SessionServer`.

    Args:
        spec: ``store`` (StoreAddress), ``policy`` (SourcePolicy), ``runner`` (RunnerConfig).
    """

    def __init__(self, spec: Mapping[str, Any], tools: Tools) -> None:
        address: StoreAddress = spec["store"]
        self._spec = spec
        self._tools = tools
        self._config: RunnerConfig = spec["runner"]
        self._store = address.open()
        self._stop = threading.Event()

    def serve(self, session_id: str) -> str:
        feed_spec = {
            "store": self._spec["store"],
            "policy": self._spec["policy"],
            "session_id": session_id,
        }
        try:
            return SessionRunner(
                self._store,
                session_id,
                self._tools,
                self._config,
                lambda: self._tools.decoders.open(open_feed, feed_spec),
                self._stop,
            ).run()
        except SessionNotFoundError:
            return "gone"
        finally:
            give_back_memory()

    def warm(self) -> None:
        self._tools.decoders.prepare(open_feed)
        play_blank_frames(self._tools)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._store.close()


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
