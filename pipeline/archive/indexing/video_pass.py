"""A pass over one video, or over a part of a long one, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

from maskstream.core.closing import Closing
from maskstream.core.errors import CheckpointError, InputError, SourceError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.detector.frames import Concept, DetectedFrame
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.chunk_files import ChunkFiles
from maskstream.pipeline.archive.indexing.finishing import finish_pass
from maskstream.pipeline.archive.indexing.frames import ChunkFrames, SampledFrame
from maskstream.pipeline.archive.indexing.rows import ObservationRows
from maskstream.pipeline.archive.indexing.seeking import anchor_before_time
from maskstream.pipeline.archive.indexing.tools import IndexingTools
from maskstream.pipeline.archive.plan.addresses import local_copy
from maskstream.pipeline.archive.plan.jobs import Job
from maskstream.pipeline.session.state_codec import state_from_bytes, state_to_bytes
from maskstream.pipeline.sources import VideoSource
from maskstream.pipeline.video.frame_numbers import FrameNumbers

_STATE_VERSION = 1


class VideoPass(Closing):
    """Goes over a video and writes its chunks.

    Promises: goes on after the last chunk that has a record, from the state that was saved with it.
    The rows of all chunks together are those of one pass without a break, to the bit, on one kind
    of machine with one torch thread.

    Threads: one, which decodes the next frame of the chunk while this one is looked at, so that a
    GPU does not wait for it.

    Args:
        job: what to do.
        settings: of the index.
        storage: of the index.
        tools: the model.

    Attributes:
        chunk: number of the chunk that is worked on.

    Raises:
        SourceError: the video cannot be opened.
        ArchiveError: the index cannot be read.
    """

    def __init__(
        self, job: Job, settings: IndexSettings, storage: Storage, tools: IndexingTools
    ) -> None:
        self.job = job
        self._settings = settings
        self._storage = storage
        self._tools = tools
        self._files = ChunkFiles(storage, job)
        self._is_over = self._files.is_over
        self._tracking = tools.new_tracking()
        self._numbers = FrameNumbers()
        self._object_offset = self._next_object = job.first_object_id
        self._writes_shots = settings.detect_shots and job.is_first
        self._num_frames = 0
        self._rows = ObservationRows(job.video_id)
        self._open: ExitStack = ExitStack()
        self._coming: Future[SampledFrame | None] | None = None
        if not self._is_over:
            self._open_video(self._load_state())

    @property
    def chunk(self) -> int:
        """Number of the chunk that is worked on."""
        return self._files.next_chunk

    @property
    def is_over(self) -> bool:
        """Whether all chunks have their records."""
        return self._is_over

    @property
    def concepts(self) -> Sequence[Concept]:
        """What is looked for."""
        return self._tracking.concepts

    @property
    def time_s(self) -> float:
        """The time in the video, in seconds, of the frame that was looked at last."""
        return self._time_s

    def next_frame(self) -> SampledFrame | None:
        """The next frame of the chunk; None when all of its frames are there.

        Raises:
            SourceError: it cannot be decoded.
        """
        coming = self._coming or self._reader.submit(self._frames.next)
        self._coming = None
        try:
            sampled = coming.result()
        except InputError as error:
            raise SourceError(str(error)) from error
        if sampled is not None:
            self._coming = self._reader.submit(self._frames.next)
        return sampled

    def take(self, sampled: SampledFrame, detected: DetectedFrame) -> None:
        """Track a frame of the chunk.

        Raises:
            MaskstreamError: the frame cannot be tracked in.
        """
        if sampled.follows_cut and self._settings.reset_at_cuts:
            self._begin_anew()
        frame = sampled.frame
        height, width = frame.image.shape[:2]
        number = self._numbers.number(frame.index)
        stamp = FrameStamp(number, sampled.time_s, size=(height, width))
        self._keep(self._tracking.step(stamp, detected.features, detected.detections))
        self._num_frames += self.job.owned.holds(sampled.time_s)
        self._time_s = sampled.time_s

    def end_chunk(self) -> int:
        """Write the chunk; returns how many of its frames were looked at, and are the part's own.

        Raises:
            ArchiveError: it cannot be written.
        """
        self._is_over = self._frames.is_over
        if self._is_over:
            self._keep(self._tracking.flush())
        cuts = self._frames.cuts if self._is_over and self._writes_shots else None
        self._files.write(
            self._rows.to_table(),
            state=None if self._is_over else state_to_bytes(self._state()),
            shots=None if cuts is None else cuts.to_table(self.job.video_id),
            next_frame=self._frames.next_frame,
            num_frames=self._num_frames,
            size=self._size,
        )
        num_frames, self._num_frames = self._num_frames, 0
        self._rows = ObservationRows(self.job.video_id)
        return num_frames

    def finish(self) -> None:
        """Write the tables of the whole video, and its manifest, unless other parts are not over.

        Raises:
            ArchiveError: they cannot be written.
        """
        finish_pass(self._storage, self.job)

    def close(self) -> None:
        """Release the file."""
        if self._coming is not None:
            wait([self._coming])
            self._coming = None
        self._open.close()

    def _open_video(self, state: Mapping[str, Any] | None) -> None:
        with ExitStack() as stack:
            path = stack.enter_context(local_copy(self.job.url))
            try:
                video = VideoSource(path)
            except OSError as error:
                raise SourceError(f"{self.job.source} cannot be opened: {error}") from error
            self._size = (video.info.width, video.info.height)
            frames_state = None if state is None else state["frames"]
            finds_cuts = self._writes_shots or self._settings.reset_at_cuts
            watched, begin = self.job.watched, None
            if state is None and watched.start_s is not None:
                begin = anchor_before_time(path, watched.start_s)
            self._frames = ChunkFrames(
                video,
                self._settings,
                watched,
                begin=begin,
                finds_cuts=finds_cuts,
                state=frames_state,
            )
            stack.enter_context(self._frames)
            self._reader = stack.enter_context(ThreadPoolExecutor(1, "index-reader"))
            self._open = stack.pop_all()
        self._time_s = 0.0
        if state is None:
            self._add_concepts()
        else:
            self._tracking.load_state_dict(state["tracking"])
            self._numbers = FrameNumbers.from_state(state["numbers"])
            self._object_offset, self._next_object = map(int, state["objects"])

    def _add_concepts(self) -> None:
        for text in self.job.concepts:
            self._tracking.add_concept(text)

    def _begin_anew(self) -> None:
        """Forget all objects, so that none goes through a cut."""
        self._keep(self._tracking.flush())
        self._tracking.reset()
        self._numbers = FrameNumbers()
        self._object_offset = self._next_object
        self._add_concepts()

    def _keep(self, results: Sequence[FrameResult]) -> None:
        for result in results:
            self._rows.add(self._numbers.translate(result), self._object_offset)
            if len(result):
                highest = self._object_offset + int(result.obj_ids.max())
                self._next_object = max(self._next_object, highest + 1)

    def _state(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "tracking": self._tracking.state_dict(),
            "numbers": self._numbers.to_state(),
            "objects": [self._object_offset, self._next_object],
            "frames": self._frames.to_state(),
        }

    def _load_state(self) -> dict[str, Any] | None:
        """The state at the end of the last chunk; None to begin with the first frame."""
        blob = self._files.read_state()
        if blob is None:
            return None
        state = state_from_bytes(blob)
        if state.get("version") != _STATE_VERSION:
            raise CheckpointError(
                f"{self.job.source}: the state of its last chunk is of version "
                f"{state.get('version')!r}, not {_STATE_VERSION}; remove the video and add it again"
            )
        return state
