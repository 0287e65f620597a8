"""A model that is made up, and threads that serve the sessions of any store with it.

Everything else is real: the loop, the decoding, the store, the client.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from maskstream.core.errors import ImageError, MaskstreamError, PromptError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import DetectedFrame
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.local.threads import CONFIG, SessionThreads
from maskstream.pipeline.session.feed import Image
from maskstream.pipeline.session.opening import RunnerConfig
from maskstream.pipeline.session.ports import Arrival
from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.video.tracking import SessionTracking
from tests.pipeline.clips import number_in
from tests.pipeline.frame_results import make_result

BAD_WORD = "unspeakable"


@dataclass(frozen=True)
class ScriptedConcept:
    prompt_id: int
    text: str | None


class ScriptedTracking:
    """One made-up object for each prompt; its score tells the number that the frame spells.

    ``features`` are the picture itself.
    """

    def __init__(self, delay: int = 0) -> None:
        self.delay = delay
        self.seen: list[int] = []
        self.numbers: list[int] = []
        self.before_step: Callable[[int], None] = lambda number: None
        self.reset()

    def reset(self) -> None:
        self._concepts: dict[int, ScriptedConcept] = {}
        self._objects: dict[int, tuple[int, str, int]] = {}
        self._held: deque[FrameResult] = deque()
        self._next = 0
        self._pictures: dict[int, Image] = {}

    @property
    def concepts(self) -> list[ScriptedConcept]:
        return list(self._concepts.values())

    def concept(self, prompt_id: int) -> ScriptedConcept:
        return self._concepts[prompt_id]

    def add_concept(self, text: str | None, exemplars: object = None) -> int:
        prompt_id = self._next
        self._next += 1
        self._concepts[prompt_id] = ScriptedConcept(prompt_id, text)
        self._objects[prompt_id] = (prompt_id, text or "visual", -1)
        return prompt_id

    def start_found(self, stamp: FrameStamp, features: Image, detections: object) -> None:
        self._pictures[stamp.index] = features

    def add_object(
        self, stamp: FrameStamp, features: Image, *, obj_id: int | None = None, **shown: Any
    ) -> int:
        chosen = 100 + len(self._objects) if obj_id is None else obj_id
        self._objects[chosen] = (-1, "object", stamp.index)
        self._pictures[stamp.index] = features
        return chosen

    def remove_concept(self, prompt_id: int) -> list[int]:
        self._concepts.pop(prompt_id, None)
        gone = [obj for obj, (prompt, _, _) in self._objects.items() if prompt == prompt_id]
        for obj_id in gone:
            del self._objects[obj_id]
        return gone

    def remove_object(self, obj_id: int, *, keep_away: bool = True) -> bool:
        return self._objects.pop(obj_id, None) is not None

    def is_kept_away(self, obj_id: int) -> bool:
        return False

    def at(self, stamp: FrameStamp) -> FrameResult:
        return self._result(stamp, self._pictures.pop(stamp.index))

    def step(
        self, stamp: FrameStamp, features: Image, detections: object, *, reverse: bool = False
    ) -> list[FrameResult]:
        self.seen.append(number_in(features))
        self.numbers.append(stamp.index)
        self.before_step(self.seen[-1])
        for obj_id, (prompt_id, label, begun) in list(self._objects.items()):
            if begun < 0:
                self._objects[obj_id] = (prompt_id, label, stamp.index)
        self._held.append(self._result(stamp, features))
        return [self._held.popleft()] if len(self._held) > self.delay else []

    def flush(self) -> list[FrameResult]:
        ready, self._held = list(self._held), deque()
        return ready

    def _result(self, stamp: FrameStamp, picture: Image) -> FrameResult:
        ids = list(self._objects)
        result = make_result(
            stamp.index,
            ids,
            size=stamp.size,
            pts_s=stamp.pts_s,
            labels=[self._objects[obj_id][1] for obj_id in ids],
            prompt_ids=[self._objects[obj_id][0] for obj_id in ids],
        )
        told = np.full(len(ids), number_in(picture) / 1000, np.float32)
        begun = [max(0, self._objects[obj_id][2]) for obj_id in ids]
        return replace(result, scores=told, first_frames=np.array(begun, np.int64))

    def state_dict(self) -> dict[str, Any]:
        return {
            "concepts": [[one.prompt_id, one.text] for one in self._concepts.values()],
            "objects": [[obj_id, *values] for obj_id, values in self._objects.items()],
            "held": [one.to_record() for one in self._held],
            "next": self._next,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._concepts = {one[0]: ScriptedConcept(*one) for one in state["concepts"]}
        self._objects = {one[0]: (one[1], one[2], one[3]) for one in state["objects"]}
        self._held = deque(FrameResult.from_record(record) for record in state["held"])
        self._next = state["next"]


class ScriptedDetection:
    """Gives the picture back as its features. Fails on the pictures in ``bad_numbers``."""

    def __init__(self) -> None:
        self.bad_numbers: set[int] = set()

    def check_text(self, text: str) -> None:
        if text == BAD_WORD:
            raise PromptError(f"nobody knows what {text} looks like")

    def submit(self, frame: Arrival, concepts: object, shown: object = None) -> ScriptedDetected:
        return ScriptedDetected(self, frame.image)


@dataclass(frozen=True)
class ScriptedDetected:
    detection: ScriptedDetection
    image: Image

    def wait(self, timeout_s: float, other: Any = None) -> bool:
        return True

    def result(self) -> DetectedFrame:
        number = number_in(self.image)
        if number in self.detection.bad_numbers:
            raise ImageError(f"picture {number} cannot be used")
        return DetectedFrame(cast(TrackerFeatures, self.image), cast(Detections, None))

    def drop(self) -> None:
        return


class ScriptedTools:
    """Makes trackings and detections, and remembers them in the order in which they were made."""

    def __init__(self) -> None:
        self.prepare: Callable[[ScriptedTracking, ScriptedDetection], None] = lambda *made: None
        self.trackings: dict[str, ScriptedTracking] = {}
        self.detections: dict[str, ScriptedDetection] = {}
        self._made = threading.local()

    def new_tracking(self, latency: Latency) -> SessionTracking:
        self._made.tracking = ScriptedTracking(2 if latency == "delayed" else 0)
        return cast(SessionTracking, self._made.tracking)

    def new_detection(self, session_id: str, score_threshold: float | None) -> ScriptedDetection:
        tracking, detection = self._made.tracking, ScriptedDetection()
        self.trackings[session_id], self.detections[session_id] = tracking, detection
        self.prepare(tracking, detection)
        return detection


class ServingLoop:
    """Claims the sessions of a store, as a runtime does, and serves them in threads."""

    def __init__(self, store: SessionStore, config: RunnerConfig = CONFIG) -> None:
        self.store = store
        self.tools = ScriptedTools()
        self._threads = SessionThreads(store, self.tools, config)
        self._stop = threading.Event()
        self._claimer = threading.Thread(target=self._claim, daemon=True)
        self._claimer.start()

    def tracking(self, session_id: str) -> ScriptedTracking:
        return self.tools.trackings[session_id]

    @property
    def is_left(self) -> threading.Event:
        """Set when its sessions are to be left as they are."""
        return self._threads.stopping

    def close(self) -> None:
        self._stop.set()
        self._claimer.join(20)
        self._threads.close(20)

    def _claim(self) -> None:
        while not self._stop.is_set():
            try:
                session_id = self.store.claim_session("test", 60.0, timeout_s=0.05)
            except MaskstreamError:
                continue
            if session_id is not None:
                self._threads.serve(session_id)


@contextmanager
def serving(store: SessionStore, config: RunnerConfig = CONFIG) -> Iterator[ServingLoop]:
    loop = ServingLoop(store, config)
    try:
        yield loop
    finally:
        loop.close()


def shown_ids(outputs: dict[str, Any]) -> Sequence[int]:
    ids: list[int] = outputs["out_obj_ids"].tolist()
    return ids
