"""Serves sessions inside a track worker."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from maskstream.core.errors import SessionNotFoundError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.runtime.feeding import open_worker_feed
from maskstream.pipeline.runtime.remote_decoder import RemoteDecoder
from maskstream.pipeline.session.opening import RunnerConfig
from maskstream.pipeline.session.ports import Arrival
from maskstream.pipeline.session.runner import SessionRunner
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules
from maskstream.workers.memory import give_back_memory
from maskstream.workers.session_detection import SessionDetection
from maskstream.workers.track import Tools

_NUM_WARM_UP_FRAMES = 3
_WARM_UP_SIZE = (48, 64)


class StoreServer:
    """Serves sessions of one store; implements :class:`maskstream.workers.track.SessionServer`.

    Args:
        spec: ``store`` (StoreAddress), ``policy`` (SourcePolicy), ``runner`` (RunnerConfig).
        tools: the track worker's model, detection and decoders.
    """

    def __init__(self, spec: Mapping[str, Any], tools: Tools) -> None:
        address: StoreAddress = spec["store"]
        self._spec = spec
        self._decoders = tools.decoders
        self._tools = WorkerTools(tools)
        self._config: RunnerConfig = spec["runner"]
        self._store = address.open()
        self._stop = threading.Event()

    def serve(self, session_id: str) -> str:
        # In a thread of its own, which ends with the session: Ray's threads stay, and what computes
        # for torch leaves 2 MB of working memory behind in each thread that it ever ran in.
        with ThreadPoolExecutor(1, thread_name_prefix=f"session-{session_id[:40]}") as own:
            ended = own.submit(self._run, session_id)
            try:
                return ended.result()
            except SessionNotFoundError:
                return "gone"
            finally:
                del ended
                own.shutdown()
                give_back_memory()

    def _run(self, session_id: str) -> str:
        return SessionRunner(
            self._store,
            session_id,
            self._tools,
            self._config,
            lambda: self._start_decoder(session_id),
            self._stop,
        ).run()

    def _start_decoder(self, session_id: str) -> RemoteDecoder:
        spec = {
            "store": self._spec["store"],
            "policy": self._spec["policy"],
            "session_id": session_id,
        }
        worker = self._decoders.open(open_worker_feed, spec)
        return RemoteDecoder(worker, self._config.unresponsive_s)

    def warm(self) -> None:
        self._decoders.prepare(open_worker_feed)
        _track_blank_frames(self._tools)

    def stop(self) -> None:
        self._stop.set()


class WorkerTools:
    """A track worker's model and detection; implements ``SessionTools``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def new_tracking(self, latency: Latency) -> SessionTracking:
        return SessionTracking(self._tools.tracker, self._tools.config, latency=latency)

    def new_detection(self, session_id: str, score_threshold: float | None) -> SessionDetection:
        rules = detection_rules(self._tools.config, score_threshold)
        return SessionDetection(self._tools.detection, session_id, rules)


def _track_blank_frames(tools: WorkerTools) -> None:
    """Detect and track on black frames, to load kernels and reserve memory in advance."""
    tracking = tools.new_tracking("live")
    detection = tools.new_detection("warm-up", None)
    tracking.add_concept("anything")
    mask = np.zeros(_WARM_UP_SIZE, np.bool_)
    mask[: _WARM_UP_SIZE[0] // 2, : _WARM_UP_SIZE[1] // 2] = True
    for index in range(_NUM_WARM_UP_FRAMES):
        frame = Arrival(
            FrameStamp(index, size=_WARM_UP_SIZE), np.zeros((*_WARM_UP_SIZE, 3), np.uint8)
        )
        detected = detection.submit(frame, tracking.concepts).result()
        if index == 0:
            tracking.add_object(frame.stamp, detected.features, mask=mask)
        tracking.step(frame.stamp, detected.features, detected.detections)
