"""What a live source gives: frames, gaps, states, faults and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from maskstream.core.frame_stamp import FrameStamp


class LiveState(StrEnum):
    """What a source is doing."""

    CONNECTING = "connecting"
    RUNNING = "running"
    WAITING = "waiting"  # for the next attempt to connect
    ENDED = "ended"
    FAILED = "failed"
    CLOSED = "closed"


class FaultKind(StrEnum):
    """Why a connection failed or was lost."""

    REFUSED = "refused"  # nobody listens there
    UNREACHABLE = "unreachable"  # no such host, or no way to it
    UNAUTHORIZED = "unauthorized"  # wrong or missing credentials
    NOT_FOUND = "not_found"  # the server knows no such path
    REJECTED = "rejected"  # the server answers with another error
    TIMED_OUT = "timed_out"  # no answer, or no packet, in time
    STALLED = "stalled"  # connected, but without a new frame for too long
    DISCONNECTED = "disconnected"  # the other side ended a running stream
    INVALID = "invalid"  # an answer, or a file, that is not video
    FORBIDDEN = "forbidden"  # a host that may not be read from
    UNSUPPORTED = "unsupported"  # this installation cannot open it
    DEFECT = "defect"  # an error of this program


class DropReason(StrEnum):
    """Why a decoded frame was not delivered."""

    QUEUE_FULL = "queue_full"
    STALE = "stale"
    SAMPLING = "sampling"
    CORRUPT = "corrupt"
    ABANDONED = "abandoned"  # its connection was given up while it was being converted
    CLOSED = "closed"  # still waiting when the source was closed


class GapCause(StrEnum):
    """Why a frame does not follow the one before it."""

    RECONNECT = "reconnect"
    LOOP = "loop"
    PTS_JUMP = "pts_jump"
    RESOLUTION = "resolution"
    SILENCE = "silence"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong last, without credentials.

    Attributes:
        kind: for programs.
        message: for people.
        wall_time_s: when it happened, in seconds since 1970.
    """

    kind: FaultKind
    message: str
    wall_time_s: float


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing between a frame and the delivered frame before it.

    Attributes:
        num_frames: frames that were decoded and dropped, but for those that sampling left out.
        lost_s: seconds for which the source gave nothing.
        causes: in the order in which they happened, each once.
    """

    num_frames: int = 0
    lost_s: float = 0.0
    causes: tuple[GapCause, ...] = ()

    def then(self, later: Gap | None) -> Gap:
        """This gap and a later one as one."""
        if later is None:
            return self
        causes = self.causes + tuple(c for c in later.causes if c not in self.causes)
        return Gap(self.num_frames + later.num_frames, self.lost_s + later.lost_s, causes)


@dataclass(frozen=True, slots=True)
class Crop:
    """Where a frame was cut out of a picture: its upper left pixel, and the picture's size."""

    x: int
    y: int
    full_width: int
    full_height: int


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame that a live source has delivered.

    Attributes:
        stamp: its index counts every frame that was decoded since the source was opened. So the
            index jumps where frames were dropped, and goes on after a reconnect. Its epoch is 0 at
            first, and goes up with every reconnect, new pass, jump of the time stamps and change
            of the picture's size.
        gap: what is missing before the frame, or None.
        image: (H, W, 3) uint8 RGB, rotated and cut to the region of interest. Read-only.
        crop: where ``image`` lies in the whole picture; None when it is the whole.
    """

    stamp: FrameStamp
    gap: Gap | None
    image: NDArray[np.uint8]
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class LiveStats:
    """A source's figures at one moment; ``decoded == delivered + waiting + sum(dropped)``.

    Attributes:
        state: what the source is doing.
        last_fault: what went wrong last, even if it no longer does.
        decoded: frames the decoder gave.
        delivered: frames the consumer took.
        waiting: frames in the queue, or on their way into it.
        dropped: by reason, how many frames were not delivered.
        epoch: of the newest frame.
        num_connections: connections that gave a frame, or passes over a file.
        num_attempts: attempts to connect.
        num_stalls: how often the watchdog ended a connection.
        num_bad_packets: packets that could not be decoded.
        fps: frames decoded per second, lately.
        delivered_fps: frames delivered per second, lately.
        lag_s: how long the frame that was delivered last had waited.
        size: (width, height) of the newest whole picture, or None.
        codec: of the stream that is or was read, or None.
    """

    state: LiveState
    last_fault: Fault | None
    decoded: int
    delivered: int
    waiting: int
    dropped: Mapping[DropReason, int]
    epoch: int
    num_connections: int
    num_attempts: int
    num_stalls: int
    num_bad_packets: int
    fps: float
    delivered_fps: float
    lag_s: float
    size: tuple[int, int] | None
    codec: str | None

    @property
    def is_balanced(self) -> bool:
        """Whether every decoded frame is accounted for."""
        return self.decoded == self.delivered + self.waiting + sum(self.dropped.values())
