"""One session in one process: a source, its segmenter, and what has been asked of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from maskstream.core.errors import SessionError, SourceError
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.api.prompts import ConceptPrompt, ObjectPrompt
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.sources import FrameSource
from maskstream.pipeline.store.problems import limit
from maskstream.pipeline.store.records import SessionLimits
from maskstream.pipeline.video.rates import Rates
from maskstream.pipeline.video.segmenter import Direction, VideoSegmenter

# A paused session that is cancelled or closed notices within this time.
_LOOK_EVERY_S = 0.2
# As many as a session in a store takes, when nothing else is said of it.
_MAX_PROMPTS = SessionLimits().max_prompts


@dataclass(frozen=True, slots=True)
class AppliedPrompt:
    """What a prompt has done: ``prompt_id`` of the concept or ``obj_id`` of the object it made
    or refined, and the objects prompted or found on its frame so far.
    """

    result: FrameResult
    prompt_id: int | None = None
    obj_id: int | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """A result of a propagation.

    Attributes:
        wall_s: when its frame was taken, seconds since 1970.
        epoch: of the run; each direction of a propagation is one.
    """

    result: FrameResult
    wall_s: float
    epoch: int


@dataclass(slots=True)
class VideoSession:
    """Serves one client at a time; requests in between frames of a propagation are fine, and so
    are ``pause``, ``resume`` and ``cancel`` from other threads while one runs.

    Attributes:
        session_id: what clients call it.
        source: the frames; the session owns and closes it.
        segmenter: the state.
        owner: whose it is.
        path: where the frames come from, for messages.
        options: how it runs.
        expire_after_s: it gives way to another when nobody has used it for so long.
        created_s: seconds since 1970.
        last_used: monotonic time of the last request, seconds.
        rates: of its results.
        num_frames: that were stepped over.
        num_prompts: since the last reset.
        epoch: of the newest run, from 1; 0 before the first.
    """

    session_id: str
    source: FrameSource
    segmenter: VideoSegmenter
    owner: str = "anonymous"
    path: str = ""
    options: SessionOptions = field(default_factory=SessionOptions)
    expire_after_s: float = 3600.0
    created_s: float = field(default_factory=time.time)
    last_used: float = field(default_factory=time.monotonic)
    rates: Rates = field(default_factory=Rates)
    num_frames: int = 0
    num_prompts: int = 0
    epoch: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _may_run: threading.Event = field(default_factory=threading.Event)
    _propagating: bool = False
    _closed: bool = False
    _first_prompted: int | None = None

    def __post_init__(self) -> None:
        """A session is not paused at first."""
        self._may_run.set()

    @property
    def is_paused(self) -> bool:
        """Whether a propagation waits for ``resume``."""
        return not self._may_run.is_set()

    def add_prompt(self, frame_index: int, prompt: ConceptPrompt | ObjectPrompt) -> AppliedPrompt:
        """Apply a prompt on a frame.

        Raises:
            InputError: there is no such frame.
            PromptError: the prompt cannot be used; nothing has changed.
            SourceError: the frame cannot be decoded.
            SessionLimitError: there were too many since the last reset.
        """
        with self._lock:
            self._touch()
            if self.num_prompts >= _MAX_PROMPTS:
                raise limit(self.session_id, "max_prompts", _MAX_PROMPTS)
            frame = self.source.read(frame_index)
            segmenter = self.segmenter
            if isinstance(prompt, ConceptPrompt):
                prompt_id = segmenter.add_concept(
                    prompt.text,
                    frame=frame,
                    boxes=prompt.boxes,
                    box_labels=prompt.box_labels,
                )
                result = segmenter.find_now(frame, prompt_id)
                applied = AppliedPrompt(result, prompt_id=prompt_id)
            else:
                obj_id = segmenter.add_object(
                    frame,
                    obj_id=prompt.obj_id,
                    points=prompt.points or None,
                    point_labels=prompt.point_labels or None,
                    box=prompt.box,
                    mask=prompt.mask,
                    clear_old_points=prompt.clear_old_points,
                )
                applied = AppliedPrompt(segmenter.at(frame), obj_id=obj_id)
            earlier = self._first_prompted
            self._first_prompted = frame_index if earlier is None else min(earlier, frame_index)
            self.num_prompts += 1
            return applied

    def propagate(
        self, direction: Direction, start_frame: int | None, max_frames: int | None
    ) -> Iterator[StepResult]:
        """Step over the video; see :meth:`VideoSegmenter.run`.

        While the session is paused it waits, and whoever takes the results with it.

        Args:
            start_frame: None starts on the earliest frame that was prompted.

        Raises:
            SessionError: nothing has been prompted, or a propagation is running already.
        """
        with self._lock:
            self._touch()
            if self._propagating:
                raise SessionError(
                    f"session {self.session_id} is propagating already; "
                    "finish or cancel that propagation first"
                )
            if self._first_prompted is None:
                raise SessionError(
                    f"session {self.session_id} has no prompt; add one before propagating"
                )
            start = self._first_prompted if start_frame is None else start_frame
            self._cancelled.clear()
            self._propagating = True
        try:
            if direction != "backward":
                yield from self._one_way(start, max_frames, reverse=False)
            if direction != "forward" and start > 0:
                yield from self._one_way(start - 1, max_frames, reverse=True)
        finally:
            self._propagating = False

    def _one_way(
        self, start: int, max_frames: int | None, *, reverse: bool
    ) -> Iterator[StepResult]:
        """One direction; the lock is held while a frame is worked on, not while a client looks."""
        frames = islice(self.source.iterate(start, reverse=reverse), max_frames)
        self.epoch += 1
        taken_s: dict[int, float] = {}
        try:
            while True:
                self._wait_until_resumed()
                with self._lock:
                    if self._cancelled.is_set() or self._closed:
                        break
                    self._touch()
                    frame = next(frames, None)
                    if frame is None:
                        break
                    taken_s[frame.index] = time.time()
                    ready = self.segmenter.step(frame, reverse=reverse)
                    self.num_frames += 1
                yield from self._timed(ready, taken_s)
        except SourceError:
            yield from self._timed(self._rest(), taken_s)  # those before the broken one are good
            raise
        finally:
            ready = self._rest()
        yield from self._timed(ready, taken_s)

    def _timed(self, results: list[FrameResult], taken_s: dict[int, float]) -> Iterator[StepResult]:
        for result in results:
            wall_s = taken_s.pop(result.frame_index)
            self.rates.note(wall_s)
            yield StepResult(result, wall_s, self.epoch)

    def _rest(self) -> list[FrameResult]:
        with self._lock:
            return [] if self._closed else self.segmenter.flush()

    def _wait_until_resumed(self) -> None:
        while not (self._cancelled.is_set() or self._closed):
            if self._may_run.wait(_LOOK_EVERY_S):
                return

    def pause(self) -> bool:
        """Take no more frames; False when it is paused already."""
        with self._lock:
            self._touch()
            was_running = self._may_run.is_set()
            self._may_run.clear()
            return was_running

    def resume(self) -> bool:
        """Go on; False when it is not paused."""
        with self._lock:
            self._touch()
            was_paused = not self._may_run.is_set()
            self._may_run.set()
            return was_paused

    def cancel(self) -> bool:
        """Stop a propagation before its next frame; False when none is running."""
        self._cancelled.set()
        return self._propagating

    def remove_object(self, obj_id: int) -> bool:
        """Drop an object; False when there is none of this id."""
        with self._lock:
            self._touch()
            return self.segmenter.remove_object(obj_id)

    def remove_prompt(self, prompt_id: int) -> bool:
        """Drop a concept and its objects; False when there is no such concept."""
        with self._lock:
            self._touch()
            known = any(c.prompt_id == prompt_id for c in self.segmenter.concepts)
            self.segmenter.remove_concept(prompt_id)
            return known

    def reset(self) -> None:
        """Forget prompts and objects; a running propagation stops."""
        with self._lock:
            self._touch()
            self._cancelled.set()
            self._first_prompted = None
            self.num_prompts = 0
            self.segmenter.reset()

    def close(self) -> None:
        """Free everything. Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._cancelled.set()
            self.segmenter.reset()
            self.source.close()

    def _touch(self) -> None:
        if self._closed:
            raise SessionError(f"session {self.session_id} is closed; start a new one")
        self.last_used = time.monotonic()


def driven_session_answer(session: VideoSession) -> Answer:
    """The same of a session that a client drives in its own process."""
    num_frames = session.num_frames
    used_s = time.time() + session.last_used - time.monotonic()
    return {
        "session_id": session.session_id,
        "owner": session.owner,
        "source": session.path,
        "state": "paused" if session.is_paused else "running",
        "reason": "",
        "runs_by_itself": False,
        "options": session.options.to_stored(),
        "created_s": session.created_s,
        "updated_s": used_s,
        "expires_s": used_s + session.expire_after_s,
        "epoch": session.epoch,
        "frames": {
            "decoded": num_frames,
            "processed": num_frames,
            "dropped": {},
            "in_flight": 0,
        },
        "num_prompts": session.num_prompts,
        "cursor": 0,
        "stats": session.rates.to_stats(),
    }
