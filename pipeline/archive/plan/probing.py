"""What a video file says about itself, read without decoding it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from maskstream.core.errors import SourceError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.plan.addresses import is_local, locate
from maskstream.pipeline.sources.media import open_media


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file declares. Each may be wrong, or None where it declares nothing.

    Attributes:
        start_s: time of its first frame.
        duration_s: of its video, in seconds.
        fps: mean frames a second.
        container: name of the format.
        codec: name of the video's coding.
        recorded_at: when the recording began.
    """

    start_s: float
    duration_s: float | None
    fps: float | None
    container: str
    codec: str
    recorded_at: datetime | None


def probe(url: str, size_bytes: int | None) -> Probe:
    """Look into a file.

    Raises:
        SourceError: it is empty, no media file, or has no video in it.
    """
    if size_bytes == 0:
        raise SourceError(f"{redact_url(url)} is empty (0 bytes)")
    try:
        with _opened(url) as container:
            return _describe(container, url)
    except (OSError, ValueError) as error:  # FFmpeg's errors are one or the other
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{redact_url(url)} cannot be read as a video: {reason}") from error


@contextlib.contextmanager
def _opened(url: str) -> Iterator[InputContainer]:
    if is_local(url):
        with open_media(url, protocols="file") as container:
            yield container
        return
    fs, path = locate(url)
    with fs.open(path, "rb") as file, open_media(file) as container:
        yield container


def _describe(container: InputContainer, url: str) -> Probe:
    for stream in container.streams.video:
        # The cover of an audio file is declared as a video stream of one picture.
        if stream.disposition & Disposition.attached_pic:
            continue
        duration_s = None
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / av.time_base
        start_s = 0.0
        if stream.start_time is not None and stream.time_base is not None:
            start_s = float(stream.start_time * stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        return Probe(
            start_s,
            duration_s,
            float(rate) if rate else None,
            container.format.name,
            stream.codec_context.name,
            _recorded_at(container.metadata),
        )
    raise SourceError(f"{redact_url(url)} holds no video stream")


def _recorded_at(metadata: dict[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(metadata["creation_time"])
    except (KeyError, ValueError):
        return None
    # Recorders without a clock write the epoch of MP4, 1904, or of Unix.
    if moment.year <= 1970:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
