"""Detection in the thread of the session that asks for it."""

from __future__ import annotations

from typing import Any

from maskstream.detector.frames import Concept, DetectedFrame, DetectionRules, FrameDetector
from maskstream.detector.model import ImageFeatures
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.session.ports import Arrival
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules


class LocalTools:
    """A model that all sessions of this process share; see ``SessionTools``."""

    def __init__(self, model: VideoModel) -> None:
        self._model = model

    def new_tracking(self, latency: Latency) -> SessionTracking:
        return SessionTracking(self._model.tracker, self._model.config, latency=latency)

    def new_detection(self, session_id: str, score_threshold: float | None) -> LocalDetection:
        rules = detection_rules(self._model.config, score_threshold)
        return LocalDetection(FrameDetector(self._model.detector), rules)


class LocalDetection:
    """See :class:`maskstream.pipeline.session.ports.Detection`.

    The features of the newest frame are kept: a prompt on a frame and the step over it, or a second
    prompt on it, encode it once.
    """

    def __init__(self, detector: FrameDetector, rules: DetectionRules) -> None:
        self._detector = detector
        self._rules = rules
        self._encoded: tuple[int, ImageFeatures] | None = None

    def check_text(self, text: str) -> None:
        self._detector.check_text(text)

    def submit(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None = None
    ) -> LocalPending:
        return LocalPending(self, frame, concepts, shown)

    def detect(
        self, frame: Arrival, concepts: list[Concept], shown: Exemplar | None
    ) -> DetectedFrame:
        """Do it now."""
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
    """Detects when the result is asked for; see ``PendingDetection``."""

    def __init__(
        self,
        detection: LocalDetection,
        frame: Arrival,
        concepts: list[Concept],
        shown: Exemplar | None,
    ) -> None:
        self._detection = detection
        self._frame = frame
        self._concepts = concepts
        self._shown = shown

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        return True

    def result(self) -> DetectedFrame:
        return self._detection.detect(self._frame, self._concepts, self._shown)
