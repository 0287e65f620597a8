"""One session in one process: a source, its segmenter, and what has been asked of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from core.errors import SessionError, SourceError
from pipeline.prompts import ConceptPrompt, ObjectPrompt
from pipeline.results import FrameResult
from pipeline.segmenter import Direction, VideoSegmenter
from pipeline.sources import FrameSource


@dataclass(slots=True)
class VideoSession:
    """Serves one client at a time; requests in between frames of a propagation are fine.

    Attributes:
        session_id: what clients call it.
        source: the frames; the session owns and closes it.
        segmenter: the state.
        last_used: monotonic time of the last request, seconds.
    """

    session_id: str
    source: FrameSource
    segmenter: VideoSegmenter
    last_used: float = field(default_factory=time.monotonic)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _propagating: bool = False
    _closed: bool = False
    _first_prompted: int | None = None

    def add_prompt(self, frame_index: int, prompt: ConceptPrompt | ObjectPrompt) -> FrameResult:
        """Apply a prompt on a frame.

        Returns:
            The objects prompted or found on that frame so far.

        Raises:
            InputError: there is no such frame.
            PromptError: the prompt cannot be used; nothing has changed.
            SourceError: the frame cannot be decoded.
        """
        with self._lock:
            self._touch()
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
            else:
                segmenter.add_object(
                    frame,
                    obj_id=prompt.obj_id,
                    points=prompt.points or None,
                    point_labels=prompt.point_labels or None,
                    box=prompt.box,
                    mask=prompt.mask,
                )
                result = segmenter.at(frame)
            earlier = self._first_prompted
            self._first_prompted = frame_index if earlier is None else min(earlier, frame_index)
            return result

    def propagate(
        self, direction: Direction, start_frame: int | None, max_frames: int | None
    ) -> Iterator[FrameResult]:
        """Step over the video; see :meth:`VideoSegmenter.run`.

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
    ) -> Iterator[FrameResult]:
        """One direction; the lock is held while a frame is worked on, not while a client looks."""
        frames = islice(self.source.iterate(start, reverse=reverse), max_frames)
        try:
            while True:
                with self._lock:
                    if self._cancelled.is_set() or self._closed:
                        break
                    self._touch()
                    frame = next(frames, None)
                    if frame is None:
                        break
                    ready = self.segmenter.step(frame, reverse=reverse)
                yield from ready
        except SourceError:
            yield from self._rest()  # the frames before the broken one are good
            raise
        finally:
            ready = self._rest()
        yield from ready

    def _rest(self) -> list[FrameResult]:
        with self._lock:
            return [] if self._closed else self.segmenter.flush()

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
