"""The frames of a video that are looked at, chunk by chunk."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from maskstream.core.closing import Closing
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.indexing.sampling import FrameSampler
from maskstream.pipeline.archive.indexing.shots import THUMBNAIL, CutFinder
from maskstream.pipeline.archive.plan.jobs import Span
from maskstream.pipeline.sources import Frame, VideoSource
from maskstream.pipeline.sources.anchors import Anchor
from maskstream.pipeline.sources.video import DecodedFrame

_LONGEST = 4
"""A chunk without a key frame to end before ends after so many times its usual length."""
_USUAL_FPS = 25.0
"""For the time of frames without time stamps, in a file that names no rate."""


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A frame that is looked at.

    Attributes:
        frame: with its picture.
        time_s: its time; of a frame without time stamp, computed from its number.
        follows_cut: it is the first one of a shot.
    """

    frame: Frame
    time_s: float
    follows_cut: bool


class ChunkFrames(Closing):
    """Decodes a video from a place on, and hands out the frames that are looked at.

    Promises: a chunk ends before the first key frame that comes ``chunk_s`` or more after its first
    frame, so that another process can go on there. Where chunks end depends on the file and the
    settings alone.

    Args:
        video: the file; closed with this object.
        settings: of the index.
        watched: the span of time of the part that is worked on.
        begin: where to begin without a state, before the span; None: with the first frame.
        finds_cuts: whether cuts between shots are looked for.
        state: from ``to_state``, to go on there; None: nothing was done yet.

    Attributes:
        next_frame: number of the first frame that was not yet decoded, or is not of this chunk.
        is_over: the video, or the range of times, has ended.
    """

    def __init__(
        self,
        video: VideoSource,
        settings: IndexSettings,
        watched: Span,
        *,
        begin: Anchor | None,
        finds_cuts: bool,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._video = video
        self._chunk_s = settings.chunk_s
        self._fps = float(video.info.fps or _USUAL_FPS)
        self._watched = watched
        self._sampler = FrameSampler(settings.sampling, video.first_pts_s or 0.0)
        self.cuts = CutFinder() if finds_cuts else None
        self._follows_cut = False
        self._ahead: DecodedFrame | None = None
        self._chunk_start_s: float | None = None
        self.next_frame = 0
        self.is_over = False
        if state is not None:
            self._load_state(state)
        elif begin is not None:
            video.add_anchor(begin)
            self.next_frame = begin.index
        walk = video.walk(self.next_frame)
        self._walk = cast(Generator[DecodedFrame, None, None], walk)

    def next(self) -> SampledFrame | None:
        """The next frame that is looked at; None at the end of the chunk.

        After None, the next call begins the next chunk, unless ``is_over``.

        Raises:
            SourceError: a frame cannot be decoded.
        """
        while True:
            decoded = self._ahead or next(self._walk, None)
            self._ahead = None
            if decoded is None:
                self.is_over = True
                return None
            time_s = decoded.index / self._fps if decoded.pts_s is None else decoded.pts_s
            if self._sampler.is_past(time_s) or self._watched.is_past(time_s):
                self.is_over = True
                return None
            if self._watched.is_before(time_s):
                self._sampler.keeps(decoded.index, time_s, decoded.is_keyframe)
                continue
            if self._chunk_start_s is None:
                self._chunk_start_s = time_s
            elif self._ends_before(decoded, time_s - self._chunk_start_s):
                self._ahead, self._chunk_start_s = decoded, None
                return None
            self.next_frame = decoded.index + 1
            if self.cuts is not None:
                thumbnail = decoded.to_thumbnail(*THUMBNAIL)
                self._follows_cut |= self.cuts.look(thumbnail, decoded.index, time_s)
            if self._sampler.keeps(decoded.index, time_s, decoded.is_keyframe):
                follows_cut, self._follows_cut = self._follows_cut, False
                return SampledFrame(decoded.to_frame(), time_s, follows_cut)

    def close(self) -> None:
        """Release the file."""
        self._walk.close()
        self._video.close()

    def to_state(self) -> dict[str, Any]:
        """The place at the end of a chunk, as tensors and JSON values."""
        anchor = self._video.anchor_before(self.next_frame)
        return {
            "next_frame": self.next_frame,
            "anchor": None if anchor is None else [anchor.index, anchor.pts],
            "sampler": self._sampler.to_state(),
            "cuts": None if self.cuts is None else self.cuts.to_state(),
            "follows_cut": self._follows_cut,
        }

    def _load_state(self, state: Mapping[str, Any]) -> None:
        self.next_frame = int(state["next_frame"])
        if state["anchor"] is not None:
            index, pts = state["anchor"]
            self._video.add_anchor(Anchor(int(index), int(pts)))
        self._sampler.load_state(state["sampler"])
        if self.cuts is not None:
            self.cuts.load_state(state["cuts"])
        self._follows_cut = bool(state["follows_cut"])

    def _ends_before(self, decoded: DecodedFrame, length_s: float) -> bool:
        if length_s >= _LONGEST * self._chunk_s:
            return True
        return decoded.is_keyframe and length_s >= self._chunk_s
