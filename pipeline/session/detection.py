"""A session's way to the detect workers."""

from __future__ import annotations

import hashlib
from typing import Any

from maskstream.detector.frames import Concept, DetectionRules
from maskstream.workers.detect import Detecting, Pending
from maskstream.workers.messages import DetectAnswer, DetectRequest, concept_list


class Detector:
    """A session's way to the detect workers."""

    def __init__(self, detecting: Detecting, session_id: str, rules: DetectionRules) -> None:
        self._detecting = detecting
        self._session_id = session_id
        self._rules = rules
        self._sent: tuple[list[Concept], Any] = ([], concept_list("", []))

    def check_text(self, text: str) -> None:
        """See ``Detecting.check_text``."""
        self._detecting.check_text(self._session_id, text)

    def submit(self, image: Any, concepts: list[Concept], shown: Any = None) -> Pending:
        """Hand in a frame."""
        known, listed = self._sent
        if known != concepts:  # the same objects as long as nothing changes
            listed = concept_list(_key_of(concepts), concepts)
            self._sent = (concepts, listed)
        request = DetectRequest(self._session_id, listed, self._rules, shown)
        return self._detecting.submit(request, image)

    def answer(self, image: Any, concepts: list[Concept], shown: Any = None) -> DetectAnswer:
        """Hand in a frame and wait."""
        return self.submit(image, concepts, shown).result()


def _key_of(concepts: list[Concept]) -> str:
    """The same for the same concepts, by their content."""
    digest = hashlib.sha256()
    for concept in concepts:
        digest.update(f"{concept.prompt_id}\0{concept.text!r}\0".encode())
        if concept.exemplars is not None:
            digest.update(str(tuple(concept.exemplars.shape)).encode())
            digest.update(concept.exemplars.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
