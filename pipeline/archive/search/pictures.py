"""The pictures of hits, out of the videos that were indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import InputError, SourceError
from maskstream.core.redaction import redact_url
from maskstream.core.rle import decode_mask
from maskstream.pipeline.archive.plan.addresses import local_copy
from maskstream.pipeline.archive.search.hits import Hit, Observation
from maskstream.pipeline.sources import Frame, FrameSource, VideoSource, open_source

_CLOSE_S = 1e-3


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A masklet on one frame, with the picture.

    Attributes:
        observation: its time, box, score.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
    """

    observation: Observation
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def mask_of(observation: Observation, hit: Hit) -> NDArray[np.bool_]:
    """The mask of an observation of a hit: (H, W) bool of the displayed frame."""
    return decode_mask({"size": [hit.height, hit.width], "counts": observation.rle})


@contextmanager
def open_video(hit: Hit) -> Iterator[FrameSource]:
    """Open the video of a hit; one that is not on this machine is copied to it meanwhile.

    Raises:
        SourceError: it is gone, or cannot be read.
    """
    if not hit.source:
        raise SourceError(f"the index does not say yet where video {hit.video_id} is")
    with local_copy(hit.source) as path, open_source(path) as source:
        size = (source.info.width, source.info.height)
        if size != (hit.width, hit.height):
            raise _changed(hit, f"it is {size[0]}x{size[1]}, not {hit.width}x{hit.height}")
        yield source


def read_frames(
    source: FrameSource, hit: Hit, observations: Sequence[Observation]
) -> Iterator[SeenFrame]:
    """The frames of a hit, from its video, which is open.

    Raises:
        SourceError: the video cannot be decoded, or has changed since it was indexed.
    """
    if not observations:
        return
    wanted = {one.frame: one for one in observations}
    start_near(source, observations[0])
    try:
        for frame in source.iterate(observations[0].frame, observations[-1].frame + 1):
            if frame.index in wanted:
                yield _seen(frame, wanted.pop(frame.index), hit)
    except InputError as error:  # it is shorter now
        raise _changed(hit, str(error)) from error
    if wanted:
        raise _changed(hit, f"it has no frame {min(wanted)}")


def read_frame(source: FrameSource, hit: Hit, observation: Observation) -> SeenFrame:
    """One frame of a hit, from its video, which is open.

    Raises:
        SourceError: as :func:`read_frames`.
    """
    start_near(source, observation)
    try:
        return _seen(source.read(observation.frame), observation, hit)
    except InputError as error:
        raise _changed(hit, str(error)) from error


def start_near(source: FrameSource, observation: Observation, lead_s: float = 0.0) -> None:
    """Let decoding start at the key frame before an observation, not at the begin of the video.

    Args:
        lead_s: so many seconds before the observation are to be decoded, too.
    """
    if isinstance(source, VideoSource):
        source.know_frame(observation.frame, observation.pts_s, lead_s)


def _seen(frame: Frame, observation: Observation, hit: Hit) -> SeenFrame:
    if frame.pts_s is not None and abs(frame.pts_s - observation.pts_s) > _CLOSE_S:
        raise _changed(
            hit, f"frame {frame.index} is at {frame.pts_s:.3f} s, not {observation.pts_s:.3f} s"
        )
    return SeenFrame(observation, frame.image, mask_of(observation, hit))


def _changed(hit: Hit, how: str) -> SourceError:
    return SourceError(f"{redact_url(hit.source)} has changed since it was indexed: {how}")
