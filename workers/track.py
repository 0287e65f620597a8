"""The actor that tracks: it serves many sessions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from maskstream.tracker.network.protocol import TrackerNetwork
from maskstream.tracker.video_config import VideoConfig
from maskstream.workers.decoders import Decoders
from maskstream.workers.detect import DetectionService
from maskstream.workers.local_detect import BatchLimits, LocalDetectionService
from maskstream.workers.models import ModelSpec
from maskstream.workers.remote_detect import RemoteDetectionService


@dataclass(frozen=True, slots=True)
class Tools:
    """What a track worker gives its sessions.

    Attributes:
        tracker: the tracker's network.
        config: thresholds and rules of the video loop.
        detection: detects in frames.
        decoders: starts decode workers.
    """

    tracker: TrackerNetwork
    config: VideoConfig
    detection: DetectionService
    decoders: Decoders


class SessionServer(Protocol):
    """Serves sessions, each in a thread of its own."""

    def serve(self, session_id: str) -> str:
        """Serve a session until it is over or ``stop`` is called; returns how it ended."""

    def warm(self) -> None:
        """Do in advance what the first session would otherwise wait for."""

    def stop(self) -> None:
        """Stop serving, at the next frame of each session. The sessions stay in the store."""


ServerFactory = Callable[[Mapping[str, Any], Tools], SessionServer]


class TrackWorker:
    """The actor that tracks.

    Promises: all its state can be rebuilt from the session store, so it may die at any time.

    Threads: Ray's, one for each session that it serves.

    Args:
        model: the checkpoint to load.
        factory: makes the server of sessions; importable.
        spec: plain data for the factory.
        detect_workers: handles of the detect workers; if empty, this actor detects too.
        limits: how it gathers frames if it detects.
        max_retries: how often a frame is sent again after the death of its detect worker.
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
            device = tracker.device
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
