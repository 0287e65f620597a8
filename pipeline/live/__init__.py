"""Sources that run by themselves: cameras, streams that fail and come back, and files."""

from __future__ import annotations

import random
from pathlib import Path

from maskstream.pipeline.live.config import LiveConfig, Region
from maskstream.pipeline.live.faults import LiveSourceError
from maskstream.pipeline.live.files import FileConnection
from maskstream.pipeline.live.frames import (
    Crop,
    DropReason,
    Fault,
    FaultKind,
    Gap,
    GapCause,
    LiveFrame,
    LiveState,
    LiveStats,
)
from maskstream.pipeline.live.hosts import HostFilter
from maskstream.pipeline.live.reader import connect_stream
from maskstream.pipeline.live.source import LiveSource
from maskstream.pipeline.live.url import SourceAddress, parse_address

__all__ = [
    "Crop",
    "DropReason",
    "Fault",
    "FaultKind",
    "Gap",
    "GapCause",
    "HostFilter",
    "LiveConfig",
    "LiveFrame",
    "LiveSource",
    "LiveSourceError",
    "LiveState",
    "LiveStats",
    "Region",
    "SourceAddress",
    "open_live",
    "parse_address",
]


def open_live(
    source: str | Path, config: LiveConfig | None = None, *, rng: random.Random | None = None
) -> LiveSource:
    """Start reading a stream (rtsp, rtsps, http, https), a camera (/dev/video0), a file or folder.

    Returns at once, before it is connected; ``state`` and ``last_fault`` say how that goes. The
    source has threads: close it, or use it as a context manager.

    Args:
        source: URL or path.
        config: how to connect, wait, drop and crop; None takes the defaults.
        rng: draws the jitter of the back-off.

    Raises:
        InputError: it is no URL or path, or one that is not allowed.
        SourceError: the path does not exist.
    """
    config = config if config is not None else LiveConfig()
    address = parse_address(source, config)
    connector = FileConnection if address.kind == "file" else connect_stream
    return LiveSource(address, config, connector, rng=rng)
