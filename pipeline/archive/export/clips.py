"""Hits as clips, with what was found painted in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from maskstream.core.errors import OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.archive.search import Hit, Index, Observation
from maskstream.pipeline.archive.search.pictures import mask_of, open_video, start_near
from maskstream.pipeline.sinks.base import cannot_write
from maskstream.pipeline.sinks.overlay import draw_overlay
from maskstream.pipeline.sinks.overlay_video import VideoWriter

PADDING_S = 1.0
_LASTS = 1.5
"""A mask is shown until the next observation, at most so many times the usual time between two."""
_USUAL_FPS = 25.0


def write_clips(
    index: Index, hits: Iterable[Hit], folder: Path, *, padding_s: float = PADDING_S
) -> Iterator[Path]:
    """Cut a clip for each hit, and give its path when it is there.

    Args:
        folder: made if need be; files are named by number, video and object.
        padding_s: how much of the video is shown before and after.

    Raises:
        OutputError: a clip cannot be written.
        SourceError: a video is gone, cannot be decoded, or has changed since it was indexed.
        ArchiveError: the index cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for number, hit in enumerate(hits, 1):
        path = folder / f"{number:04d}-{_plain(hit.name)}-{hit.object_id}.mp4"
        write_clip(index, hit, path, padding_s=padding_s)
        yield path


def write_clip(index: Index, hit: Hit, path: Path, *, padding_s: float = PADDING_S) -> None:
    """Cut the stretch in which a hit is seen out of its video, with its mask painted in.

    Raises:
        OutputError, SourceError, ArchiveError: as :func:`write_clips`.
    """
    observations = index.observations(hit)
    if not observations:
        raise OutputError(f"{path}: the index holds no observation of object {hit.object_id}")
    with open_video(hit) as source:
        num_padding = round(padding_s * float(source.info.fps or _USUAL_FPS))
        first = max(0, hit.first_frame - num_padding)
        start_near(source, observations[0], padding_s)
        writer = VideoWriter(path, hit.width, hit.height, source.info.fps)
        try:
            shown = _Shown(hit, observations)
            for frame in source.iterate(first, hit.last_frame + 1 + num_padding):
                result = shown.at(frame.index)
                image = frame.image if result is None else draw_overlay(frame.image, result)
                writer.write(image, frame.pts_s)
        except BaseException:
            writer.discard()
            raise
        writer.finish()


def to_result(hit: Hit, seen: Observation) -> FrameResult:
    """An observation as the overlay paints it."""
    box = [seen.x0, seen.y0, seen.x1 - seen.x0, seen.y1 - seen.y0]
    return FrameResult(
        frame_index=seen.frame,
        pts_s=seen.pts_s,
        obj_ids=np.array([hit.object_id]),
        prompt_ids=np.zeros(1, np.int64),
        labels=[hit.concept],
        scores=np.array([seen.score], np.float32),
        tracker_scores=np.array([seen.score], np.float32),
        boxes_xywh=np.array([box], np.float32),
        masks=mask_of(seen, hit)[None],
        states=["confirmed"],
        first_frames=np.array([hit.first_frame]),
    )


class _Shown:
    """What is painted on each frame. Between frames that were looked at, the last mask stays."""

    def __init__(self, hit: Hit, observations: Sequence[Observation]) -> None:
        frames = [one.frame for one in observations]
        steps = [later - earlier for earlier, later in pairwise(frames)]
        self._lasts = round(_LASTS * median(steps)) if steps else 1
        self._hit = hit
        self._frames = frames
        self._observations = observations
        self._next = 0
        self._result: FrameResult | None = None

    def at(self, frame: int) -> FrameResult | None:
        """What is painted on a frame, of frames in ascending order; None: nothing."""
        while self._next < len(self._frames) and self._frames[self._next] <= frame:
            self._result = to_result(self._hit, self._observations[self._next])
            self._next += 1
        if self._result is None or frame - self._result.frame_index >= max(1, self._lasts):
            return None
        return self._result


def _plain(name: str) -> str:
    """A name that any filesystem takes."""
    return re.sub(r"[^\w.-]", "_", name.rpartition(".")[0] or name)[:80] or "video"
