"""Detection for one session, by a service that many sessions share."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from maskstream.detector.frames import Concept, DetectionRules
from maskstream.detector.prompts import Exemplar
from maskstream.workers.detect import DetectionService, PendingDetection
from maskstream.workers.messages import DetectRequest, concept_list


class FrameWithImage(Protocol):
    """A frame with its picture, or a Ray reference to the picture."""

    @property
    def image(self) -> Any: ...


class SessionDetection:
    """Sends a session's frames together with its concepts, which are packed only when they change.

    Args:
        service: detects in the frames.
        session_id: the service lets sessions take turns.
        rules: which detections count.
    """

    def __init__(self, service: DetectionService, session_id: str, rules: DetectionRules) -> None:
        self._service = service
        self._session_id = session_id
        self._rules = rules
        self._concepts: list[Concept] = []
        self._packed = concept_list("", [])

    def check_text(self, text: str) -> None:
        """See ``DetectionService.check_text``."""
        self._service.check_text(self._session_id, text)

    def submit(
        self, frame: FrameWithImage, concepts: list[Concept], shown: Exemplar | None = None
    ) -> PendingDetection:
        """Start the detection of a frame; see ``DetectRequest``."""
        if self._concepts != concepts:  # compares identities: Concept defines no equality
            self._concepts = concepts
            self._packed = concept_list(_key_of(concepts), concepts)
        request = DetectRequest(self._session_id, self._packed, self._rules, shown)
        return self._service.submit(request, frame.image)


def _key_of(concepts: list[Concept]) -> str:
    """A digest of the concepts' content."""
    digest = hashlib.sha256()
    for concept in concepts:
        digest.update(f"{concept.prompt_id}\0{concept.text!r}\0".encode())
        if concept.exemplars is not None:
            digest.update(str(tuple(concept.exemplars.shape)).encode())
            digest.update(concept.exemplars.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
