"""The actor that sessions live in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from maskstream.tracker.model import TrackerModel
from maskstream.tracker.video_config import VideoConfig
from maskstream.workers.decoders import Decoders
from maskstream.workers.detect import DetectionService
from maskstream.workers.local_detect import BatchLimits, LocalDetectionService
from maskstream.workers.models import ModelSpec
from maskstream.workers.remote_detect import RemoteDetectionService


@dataclass(frozen=True, slots=True)
class Tools:
    """What a session works with.

    Attributes:
        tracker: the network.
        config: rules of the video loop.
        detection: where frames are detected in.
        decoders: start actors for sources.
    """

    tracker: TrackerModel
    config: VideoConfig
    detection: DetectionService
    decoders: Decoders


class SessionServer(Protocol):
    """Serves sessions, each in a thread of its own."""

    def serve(self, session_id: str) -> str:
        """Serve a session until it is over or to be left; how it went."""

    def warm(self) -> None:
        """Do what the first session would otherwise wait for."""

    def stop(self) -> None:
        """Have all sessions left as they are, at the next frame."""

    def close(self) -> None:
        """Let go of everything."""


ServerFactory = Callable[[Mapping[str, Any], Tools], SessionServer]


class TrackWorker:
    """The actor. Everything it holds can be rebuilt from the session store.

    Threads: one for each session that it serves, given by Ray.

    Args:
        model: which model.
        factory: makes the server; importable.
        spec: plain data for it.
        detect_workers: handles; empty: this actor detects too.
        limits: of that.
        max_retries: how often a frame is detected again after its worker has died.
    """

    def __init__(
        self,
        model: ModelSpec,
        factory: ServerFactory,
        spec: Mapping[str, Any],
        detect_workers: Sequence[Any],
        limits: BatchLimits,
        max_retries: int,
    ) -> None:
        tracker, config = model.load_tracker()
        detection: DetectionService
        if detect_workers:
            device = tracker.no_memory_embedding.device
            detection = RemoteDetectionService(detect_workers, device, max_retries)
        else:
            detection = LocalDetectionService(model.load_detector(), limits)
        self._server = factory(spec, Tools(tracker, config, detection, Decoders()))

    def pid(self) -> int:
        return os.getpid()

    def serve(self, session_id: str) -> str:
        return self._server.serve(session_id)

    def warm(self) -> None:
        self._server.warm()

    def stop(self) -> None:
        self._server.stop()
