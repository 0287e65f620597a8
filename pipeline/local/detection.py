"""Detection and tracking of sessions in this process: the torch thread does both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import Concept, DetectedFrame, DetectionRules, FrameDetector
from maskstream.detector.model import ImageFeatures
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.local.torch_thread import TorchThread
from maskstream.pipeline.session.ports import Arrival
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules


class LocalTools:
    """A model that all sessions of this process share; see ``SessionTools``.

    Args:
        model: gives the model when a session starts.
        thread: computes with it.
    """

    def __init__(self, model: Callable[[], VideoModel], thread: TorchThread) -> None:
        self._model = model
        self._thread = thread

    def new_tracking(self, latency: Latency) -> SessionTracking:
        return LocalTracking(self._model(), latency, self._thread)

    def new_detection(self, session_id: str, score_threshold: float | None) -> LocalDetection:
        model = self._model()
        rules = detection_rules(model.config, score_threshold)
        return LocalDetection(FrameDetector(model.detector), rules, self._thread)


class LocalTracking(SessionTracking):
    """A session's tracking, whose networks are called in the torch thread."""

    def __init__(self, model: VideoModel, latency: Latency, thread: TorchThread) -> None:
        self._thread = thread
        super().__init__(model.tracker, model.config, latency=latency)

    def start_found(self, stamp: FrameStamp, features: TrackerFeatures, found: Detections) -> None:
        self._thread.run(super().start_found, stamp, features, found)

    def add_object(self, stamp: FrameStamp, features: TrackerFeatures, **shown: Any) -> int:
        return self._thread.run(super().add_object, stamp, features, **shown)

    def step(
        self,
        stamp: FrameStamp,
        features: TrackerFeatures,
        detections: Detections,
        *,
        reverse: bool = False,
    ) -> list[FrameResult]:
        return self._thread.run(super().step, stamp, features, detections, reverse=reverse)

    def flush(self) -> list[FrameResult]:
        return self._thread.run(super().flush)

    def at(self, stamp: FrameStamp) -> FrameResult:
        return self._thread.run(super().at, stamp)


class LocalDetection:
    """See :class:`maskstream.pipeline.session.ports.Detection`.

    The features of the newest frame are kept: a prompt on a frame and the step over it, or a second
    prompt on it, encode it once.
    """

    def __init__(self, detector: FrameDetector, rules: DetectionRules, thread: TorchThread) -> None:
        self._detector = detector
        self._rules = rules
        self._thread = thread
        self._encoded: tuple[int, ImageFeatures] | None = None

    def check_text(self, text: str) -> None:
        self._thread.run(self._detector.check_text, text)

    def submit(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None = None
    ) -> LocalPending:
        return LocalPending(self._thread.submit(self._detect, frame, concepts, shown))

    def _detect(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None
    ) -> DetectedFrame:
        features = self._encode(frame)
        return DetectedFrame(
            features.tracker_features(0),
            self._detector.detect(features, concepts, self._rules),
            None if shown is None else self._detector.encode_exemplar(features, shown),
        )

    def _encode(self, frame: Arrival) -> ImageFeatures:
        index = frame.stamp.index
        if self._encoded is None or self._encoded[0] != index:
            self._encoded = (index, self._detector.encode([frame.image]))
        return self._encoded[1]


class LocalPending:
    """What the torch thread detects now; see ``PendingDetection``."""

    def __init__(self, detected: Future[DetectedFrame]) -> None:
        self._detected = detected

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        return bool(wait([self._detected], timeout_s).done)

    def result(self) -> DetectedFrame:
        return self._detected.result()

    def drop(self) -> None:
        self._detected.cancel()
