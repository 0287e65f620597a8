"""Finds a place in a long video from which decoding can start, with its frame's number."""

from __future__ import annotations

from pathlib import Path

from av.stream import Disposition

from maskstream.pipeline.sources.anchors import Anchor
from maskstream.pipeline.sources.media import open_media

_READ_ON_S = 10.0
"""Frames that are shown before a key frame may be stored up to this far behind it."""


def anchor_before_time(path: Path, time_s: float) -> Anchor | None:
    """The last key frame up to a time.

    Frames are counted by their packets, which are read and not decoded. That is only done where
    each packet is surely a frame; else, and if there is no such key frame, the answer is None, and
    the frames before must be decoded to be counted.

    Args:
        path: the video file.
        time_s: in seconds of the video's clock.
    """
    times: list[int] = []
    is_in_order = True
    keyframes: list[int] = []
    try:
        with open_media(str(path), protocols="file") as container:
            stream = next(
                one
                for one in container.streams.video
                if not one.disposition & Disposition.attached_pic
            )
            if stream.time_base is None:
                return None
            wanted = int(time_s / stream.time_base)
            last = wanted + int(_READ_ON_S / stream.time_base)
            for packet in container.demux(stream):
                if packet.size == 0 or (packet.dts is not None and packet.dts > last):
                    break
                if packet.pts is None or packet.is_discard or packet.is_corrupt:
                    return None
                if packet.is_keyframe and packet.pts <= wanted:
                    keyframes.append(packet.pts)
                elif not times:
                    return None  # the recording starts between two key frames
                is_in_order &= not times or packet.pts > times[-1]
                times.append(packet.pts)
            if is_in_order and stream.codec_context.has_b_frames:
                return None  # the times are those of decoding, as in AVI
    except (OSError, ValueError):  # FFmpeg's errors are one or the other; decoding tells them
        return None
    if not keyframes or min(times) < times[0] or len(set(times)) < len(times):
        return None
    nearest = max(keyframes)
    return Anchor(sum(time < nearest for time in times), nearest)
