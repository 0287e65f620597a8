"""The options of ``start_session``, stored with the session and read by its runtime."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskstream.core.errors import ConfigError
from maskstream.pipeline.api.faults import stored_faults

if TYPE_CHECKING:
    from maskstream.pipeline.live import HostFilter, LiveConfig

Latency = Literal["delayed", "live"]
Transport = Literal["tcp", "udp"]
SourceKind = Literal["file", "stream", "device", "pushed"]

PUSHED_SOURCE = "pushed://"
"""The source of a session whose frames a client pushes."""

MEMORY_SCHEME = "memory://"
"""How the source of a session begins whose pictures are in the memory of its process."""

MAX_QUEUE_SIZE = 256

_DEVICE = re.compile(r"(v4l2:.*)?/dev/video\d+")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_PositiveNumber = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
_Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def source_kind(source: str) -> SourceKind:
    """What kind of source a name stands for; nothing is opened.

    A session on a file or folder waits for its client unless ``autostart`` is set. Sessions on all
    other sources run by themselves.
    """
    if source == PUSHED_SOURCE:
        return "pushed"
    if _DEVICE.fullmatch(source):
        return "device"
    if source.startswith(MEMORY_SCHEME):
        return "file"
    scheme = _URL.match(source)
    return "stream" if scheme is not None and scheme[1].lower() != "file" else "file"


class SessionOptions(BaseModel):
    """How a session runs.

    Attributes:
        latency: ``delayed`` gives the results of offline processing, 15 frames late; ``live`` gives
            each frame at once, and says later which objects were confirmed or withdrawn.
        autostart: whether the session runs by itself: it takes frames from the start, and a prompt
            takes effect at the next one. None: true for streams, cameras and pushed frames, false
            for files and folders.
        target_fps: take at most so many frames a second, by their own time stamps.
        every_nth: take frames 0, n, 2n, …; not together with ``target_fps``.
        queue_size: so many frames may wait.
        stale_after_s: drop a frame that has waited longer, in seconds.
        loop: begin a file again at its end, for ever.
        region: look at this part of the picture only: x, y, width, height, normalised.
        transport: how RTSP carries its packets.
        start_frame: begin a file that runs by itself at this frame.
        max_frames: a session that runs by itself ends after so many frames.
        score_threshold: detections above this score count; None takes the model's own threshold.
        max_reconnect_s: a stream fails when no frame has come for so long, in seconds; None: never.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    latency: Latency = "delayed"
    autostart: bool | None = None
    target_fps: _PositiveNumber | None = None
    every_nth: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    queue_size: Annotated[int, Field(ge=1, le=MAX_QUEUE_SIZE)] = 8
    stale_after_s: _PositiveNumber | None = None
    loop: bool = False
    region: Annotated[tuple[_Part, _Part, _Part, _Part], Field(strict=False)] | None = None
    transport: Transport = "tcp"
    start_frame: Annotated[int, Field(ge=0, lt=2**53)] = 0
    max_frames: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    score_threshold: _Part | None = None
    max_reconnect_s: _PositiveNumber | None = None

    def runs_by_itself(self, source: str) -> bool:
        """Whether a session with these options takes frames without being asked to."""
        return source_kind(source) != "file" if self.autostart is None else self.autostart

    def option_faults(self, source: str) -> list[str]:
        """What is wrong with the options, taken together and for this source."""
        faults = []
        if self.every_nth > 1 and self.target_fps is not None:
            faults.append("every_nth and target_fps both choose frames; give one of them")
        if self.region is not None:
            faults += _region_faults(self.region)
        kind = source_kind(source)
        if kind != "file" and self.autostart is False:
            faults.append(
                f"autostart is false, but a {_NAMES[kind]} cannot be held back; leave it out"
            )
        if kind != "file":
            faults += [
                f"{name} is for files; a {_NAMES[kind]} has no beginning to go to"
                for name in ("loop", "start_frame")
                if getattr(self, name)
            ]
        elif not self.runs_by_itself(source):
            faults += [
                f"{name} is for sessions that run by themselves; set autostart to true"
                for name in _given(self, _RUNNING_ONLY)
            ]
        return faults

    def to_live_config(
        self,
        *,
        allowed_schemes: Collection[str] | None = None,
        allowed_roots: Collection[Path] | None = None,
        hosts: HostFilter | None = None,
    ) -> LiveConfig:
        """The options as the live sources take them.

        Args:
            allowed_schemes: the schemes of URLs that may be opened; None takes the default of the
                live sources.
            allowed_roots: files must lie in one of these folders; None allows any path.
            hosts: the hosts that may be connected to; None allows all.

        Raises:
            ConfigError: the options do not fit together.
        """
        from maskstream.pipeline.live import LiveConfig, Region
        from maskstream.pipeline.live.config import DEFAULT_SCHEMES

        region = None
        if self.region is not None:
            x, y, width, height = self.region
            region = Region(x, y, min(x + width, 1.0), min(y + height, 1.0))
        return LiveConfig(
            transport=self.transport,
            max_reconnect_s=self.max_reconnect_s,
            queue_size=self.queue_size,
            stale_after_s=self.stale_after_s,
            every_nth=self.every_nth,
            target_fps=self.target_fps,
            region=region,
            loop=self.loop,
            allowed_schemes=frozenset(
                DEFAULT_SCHEMES if allowed_schemes is None else allowed_schemes
            ),
            allowed_roots=None if allowed_roots is None else tuple(allowed_roots),
            hosts=hosts,
        )

    def to_stored(self) -> dict[str, Any]:
        """The options as JSON values, without those that have their default value."""
        fields = set(SessionOptions.model_fields)
        return self.model_dump(mode="json", include=fields, exclude_defaults=True)

    @classmethod
    def from_stored(cls, values: Mapping[str, Any]) -> SessionOptions:
        """Undo ``to_stored``.

        Raises:
            ConfigError: the values cannot be used; every fault is named.
        """
        try:
            return SessionOptions.model_validate(dict(values))
        except ValidationError as error:
            faults = "; ".join(stored_faults(error))
            raise ConfigError(f"the session's options cannot be used: {faults}") from None


_NAMES: dict[SourceKind, str] = {
    "file": "file",
    "stream": "stream",
    "device": "camera",
    "pushed": "session with pushed frames",
}
_RUNNING_ONLY = (
    "target_fps",
    "every_nth",
    "stale_after_s",
    "loop",
    "region",
    "start_frame",
    "max_frames",
    "max_reconnect_s",
)


def _given(options: SessionOptions, names: Collection[str]) -> list[str]:
    fields = type(options).model_fields
    return [name for name in names if getattr(options, name) != fields[name].default]


def _region_faults(region: tuple[float, float, float, float]) -> list[str]:
    x, y, width, height = region
    # Rounding in a client's arithmetic may push an edge a little out of the frame.
    if width > 0 and height > 0 and x + width <= 1.001 and y + height <= 1.001 and x < 1 and y < 1:
        return []
    return [
        f"region is ({x:g}, {y:g}, {width:g}, {height:g}); expected x, y, width, height of an area "
        "inside the frame, which spans 0 to 1 on both axes"
    ]
