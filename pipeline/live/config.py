"""How a live source connects, waits, drops and crops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from maskstream.core.errors import ConfigError
from maskstream.pipeline.live.hosts import HostFilter

Transport = Literal["tcp", "udp"]
Policy = Literal["auto", "drop_oldest", "block"]

DEFAULT_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "file", "v4l2"})
#: Schemes that can be allowed. FFmpeg's composing protocols (concat, subfile, data, pipe, ...) are
#: not among them: they reach files and descriptors of this process.
KNOWN_SCHEMES = DEFAULT_SCHEMES | {"rtmp", "rtmps", "srt", "udp", "rtp", "tcp"}


@dataclass(frozen=True, slots=True)
class Region:
    """A region of interest, relative to the shown picture: 0 ≤ x0 < x1 ≤ 1, likewise y.

    It is relative, so that it stays at its place when the camera changes its resolution.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not (0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1):
            raise ConfigError(
                f"region of interest ({self.x0}, {self.y0}, {self.x1}, {self.y1}): expected "
                "0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, as parts of the picture's size"
            )

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) in pixels of a ``width`` × ``height`` picture; at least one pixel."""
        x0 = min(math.floor(self.x0 * width), width - 1)
        y0 = min(math.floor(self.y0 * height), height - 1)
        return (
            x0,
            y0,
            max(x0 + 1, math.ceil(self.x1 * width)),
            max(y0 + 1, math.ceil(self.y1 * height)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """Options of a source that runs by itself, checked when they are made."""

    transport: Transport = "tcp"
    """How RTSP carries its packets. UDP may lose some; TCP loses none, but may delay them."""

    open_timeout_s: float = 5.0
    """How long one attempt to connect may take."""

    read_timeout_s: float = 3.0
    """How long FFmpeg waits for the next packet before it gives up."""

    stall_timeout_s: float = 3.0
    """The watchdog ends a connection that has given no new frame for so long, whatever else it
    sends; then a new one is made."""

    backoff_min_s: float = 0.25
    """Back-off: the pause before the first new attempt; it doubles with each that fails."""

    backoff_max_s: float = 0.75
    """The longest pause between attempts. It is short enough for a first result within two seconds
    of a server's return, on a busy machine too."""

    backoff_jitter: float = 0.25
    """Each pause is shortened by a random part of itself, at most this one (0 to 1), so that many
    sources of one recorder do not connect at the same moment."""

    unauthorized_pause_s: float = 5.0
    """The least pause after wrong credentials: cameras lock accounts after too many attempts."""

    max_reconnect_s: float | None = None
    """The source fails after so long without a frame; None: it never gives up."""

    queue_size: int = 8
    """How many frames may wait for the consumer."""

    policy: Policy = "auto"
    """When the queue is full: ``drop_oldest`` drops the oldest frame and counts it, ``block`` makes
    the decoder wait. ``auto`` drops for live sources and blocks for those with an end."""

    stale_after_s: float | None = None
    """Frames that have waited longer are dropped; None: none are."""

    every_nth: int = 1
    """Deliver frames 0, n, 2n, ... as the decoder counts them."""

    target_fps: float | None = None
    """Deliver at most so many frames a second, by their time stamps."""

    region: Region | None = None
    """The part of the picture to deliver; None: all of it."""

    loop: bool = False
    """Start a file again at its end, for ever."""

    drop_corrupt: bool = True
    """Drop frames that the decoder marks as damaged, such as those before the first key frame.
    It does not mark damage that it conceals, as after a lost packet: such frames are delivered."""

    pts_jump_s: float = 1.0
    """Time stamps that go back by more than this, or ahead of the clock by more than this,
    start a new epoch."""

    silence_gap_s: float = 0.5
    """Frames further apart than this have a gap between them."""

    tls_verify: bool = True
    """Check the certificate of rtsps and https servers."""

    tls_ca_file: Path | None = None
    """Certificate authorities to trust (PEM); None takes the system's."""

    allowed_schemes: frozenset[str] = DEFAULT_SCHEMES
    """URL schemes that may be opened; ``file`` stands for paths, ``v4l2`` for /dev/video*."""

    allowed_roots: tuple[Path, ...] | None = field(default=None)
    """Folders that files must lie in, links followed; None allows any path."""

    hosts: HostFilter | None = None
    """Which hosts may be connected to; None: all."""

    def __post_init__(self) -> None:
        for name in ("open_timeout_s", "read_timeout_s", "stall_timeout_s", "backoff_min_s",
                     "unauthorized_pause_s", "pts_jump_s", "silence_gap_s"):  # fmt: skip
            _check_positive(name, getattr(self, name))
        for name in ("max_reconnect_s", "stale_after_s", "target_fps"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        if not self.backoff_min_s <= self.backoff_max_s < math.inf:
            raise ConfigError(
                f"backoff_max_s is {self.backoff_max_s}; expected backoff_min_s "
                f"({self.backoff_min_s}) or more"
            )
        if not 0 <= self.backoff_jitter <= 1:
            raise ConfigError(f"backoff_jitter is {self.backoff_jitter}; expected 0 to 1")
        self._check_choices()
        self._check_allowed()

    def _check_choices(self) -> None:
        if self.transport not in ("tcp", "udp"):
            raise ConfigError(f"transport is {self.transport!r}; expected 'tcp' or 'udp'")
        if self.policy not in ("auto", "drop_oldest", "block"):
            raise ConfigError(
                f"policy is {self.policy!r}; expected 'auto', 'drop_oldest' or 'block'"
            )
        for name in ("queue_size", "every_nth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; expected a whole number of 1 or more")
        if self.every_nth > 1 and self.target_fps is not None:
            raise ConfigError("every_nth and target_fps both sample; set one of them")

    def _check_allowed(self) -> None:
        unknown = sorted(self.allowed_schemes - KNOWN_SCHEMES)
        if unknown:
            raise ConfigError(
                f"allowed_schemes holds {', '.join(unknown)}; possible are "
                f"{', '.join(sorted(KNOWN_SCHEMES))}"
            )
        for root in self.allowed_roots or ():
            if not root.is_dir():
                raise ConfigError(f"allowed_roots: {root} is not a folder")


def _check_positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value!r}; expected a positive number")
