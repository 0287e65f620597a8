"""Indexes videos in one process: several at once, so that one ViT pass serves a frame of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from maskstream.core.errors import ArchiveError, MaskstreamError, SourceError
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.attempts import Attempts
from maskstream.pipeline.archive.indexing.frames import SampledFrame
from maskstream.pipeline.archive.indexing.tools import IndexingTools
from maskstream.pipeline.archive.indexing.video_pass import VideoPass
from maskstream.pipeline.archive.plan.failures import write_failure
from maskstream.pipeline.archive.plan.jobs import Job

Ending = Literal["done", "failed", "left"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: the job.
        ending: ``done``: the index holds the video. ``failed``: a failure is recorded. ``left``: it
            can be gone on with.
        reason: why it failed.
    """

    job: Job
    ending: Ending
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A chunk is on storage.

    Attributes:
        job: its job.
        num_frames: how many of its frames were looked at.
        time_s: how far the video is done, in seconds.
    """

    job: Job
    num_frames: int
    time_s: float


class Indexer:
    """Works on jobs.

    Promises: an error of a video ends that video alone. Jobs that cannot be worked on any more are
    recorded as failures. What cannot be written to the index ends all.

    Args:
        settings: of the index.
        storage: of the index.
        tools: the model.
        tell: called after each chunk.
        must_stop: asked before each chunk; True: no more chunks are begun.
    """

    def __init__(
        self,
        settings: IndexSettings,
        storage: Storage,
        tools: IndexingTools,
        *,
        tell: Callable[[ChunkDone], None] = lambda chunk: None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._tools = tools
        self._tell = tell
        self._must_stop = must_stop
        self._attempts = Attempts(storage)

    def work(
        self, jobs: Iterable[Job], *, in_hand: int = 1, is_alone: bool = False
    ) -> Iterator[Outcome]:
        """Work on jobs; gives the outcome of each as it comes.

        Args:
            jobs: what to do.
            in_hand: how many videos are worked on at once.
            is_alone: nothing else is in hand anywhere. One chunk of each job is done then.

        Raises:
            ArchiveError: the index cannot be read or written.
        """
        waiting, hand = deque(jobs), list[VideoPass]()
        try:
            while waiting or hand:
                while waiting and len(hand) < in_hand:
                    yield from self._begin(waiting.popleft(), hand, is_alone)
                yield from self._go_on_by_a_frame(hand, is_alone)
        finally:
            for one in hand:
                one.close()

    def _begin(self, job: Job, hand: list[VideoPass], is_alone: bool) -> Iterator[Outcome]:
        """Take a job in hand; gives its outcome if it is over at once."""
        if self._must_stop():
            yield Outcome(job, "left")
            return
        # Opening is a part of the first chunk: a file may kill its worker by that alone. Which
        # chunk comes is known only then, so the note is about whichever comes.
        self._attempts.begin(job, alone=is_alone)
        try:
            begun = VideoPass(job, self._settings, self._storage, self._tools)
        except ArchiveError:
            raise
        except SourceError as error:
            yield self._fail(job, "open", str(error))
        except MaskstreamError as error:
            yield self._fail(job, "index", str(error))
        else:
            if begun.is_over:
                yield self._finish(begun)
            else:
                hand.append(begun)

    def _go_on_by_a_frame(self, hand: list[VideoPass], is_alone: bool) -> Iterator[Outcome]:
        pictures: list[tuple[VideoPass, SampledFrame]] = []
        for one in list(hand):
            try:
                sampled = one.next_frame()
            except SourceError as error:
                hand.remove(one)
                one.close()
                yield self._fail(one.job, "decode", str(error))
                continue
            if sampled is not None:
                pictures.append((one, sampled))
                continue
            outcome = self._end_chunk(one, is_alone)
            if outcome is not None:
                hand.remove(one)
                yield outcome
        for one, reason in self._look(pictures):
            hand.remove(one)
            one.close()
            yield self._fail(one.job, "index", reason)

    def _look(self, pictures: list[tuple[VideoPass, SampledFrame]]) -> list[tuple[VideoPass, str]]:
        """Detect in a frame of each video, and track; returns who cannot go on, and why."""
        if not pictures:
            return []
        detected = self._tools.detect(
            [sampled.frame.image for _, sampled in pictures], [one.concepts for one, _ in pictures]
        )
        failed = []
        for (one, sampled), found in zip(pictures, detected, strict=True):
            try:
                one.take(sampled, found)
            except MaskstreamError as error:
                failed.append((one, str(error)))
        return failed

    def _end_chunk(self, one: VideoPass, is_alone: bool) -> Outcome | None:
        """Write a chunk; gives the outcome if nothing more is done for this job."""
        num_frames = one.end_chunk()
        self._tell(ChunkDone(one.job, num_frames, one.time_s))
        if one.is_over:
            return self._finish(one)
        self._attempts.end(one.job)
        if is_alone or self._must_stop():
            one.close()
            return Outcome(one.job, "left")
        self._attempts.begin(one.job, alone=is_alone)
        return None

    def _finish(self, one: VideoPass) -> Outcome:
        one.close()
        one.finish()
        self._attempts.end(one.job)
        return Outcome(one.job, "done")

    def _fail(self, job: Job, stage: Literal["open", "decode", "index"], reason: str) -> Outcome:
        write_failure(self._storage, job, stage, reason)
        self._attempts.end(job)
        return Outcome(job, "failed", reason)
