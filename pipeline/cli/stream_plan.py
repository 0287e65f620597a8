"""What ``maskstream stream`` will do, checked before anything is started."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from maskstream.core.errors import InputError, SourceError
from maskstream.pipeline.api.options import source_kind
from maskstream.pipeline.api.parsing import parse_single_request
from maskstream.pipeline.api.requests import StartSession
from maskstream.pipeline.cli.typed_prompts import TypedPrompt, needs_frame_size, parse_prompts
from maskstream.pipeline.live import LiveConfig, parse_address
from maskstream.pipeline.sources import open_source

# Options that only a session that runs by itself can have.
_BY_ITSELF = ("target_fps", "every_nth", "stale_after_s", "loop", "region", "max_reconnect_s")
_SESSION = (*_BY_ITSELF, "latency", "queue_size", "transport", "score_threshold", "owner")


@dataclass(frozen=True, slots=True)
class Plan:
    """How the command runs the source.

    Attributes:
        drives: whether this command propagates, so that prompts hold from the first frame and no
            frame is dropped; so it does with a plain file.
        pushes: whether this command reads the frames and pushes them, since an overlay needs the
            pictures.
        request: the request that starts the session.
        prompts: the prompts of the command line.
    """

    drives: bool
    pushes: bool
    request: StartSession
    prompts: list[TypedPrompt]


def make_plan(options: Namespace) -> Plan:
    """Check everything that can be checked before anything is started.

    Raises:
        InputError: an option cannot be used, or there is no such file.
    """
    kind = source_kind(options.source)
    if kind == "pushed":
        raise InputError("pushed:// is for programs that push frames; give a URL, camera or file")
    drives = kind == "file" and not any(getattr(options, name) for name in _BY_ITSELF)
    pushes = options.overlay and not drives
    given = {name: getattr(options, name) for name in _SESSION}
    if not drives:
        given |= {"max_frames": options.max_frames, "start_frame": options.start_frame}
        given |= {"autostart": True} if kind == "file" else {}
    request: dict[str, Any] = {"type": "start_session", "resource_path": options.source}
    request |= {name: value for name, value in given.items() if value is not None}
    parsed = parse_single_request(request)
    if not isinstance(parsed, StartSession):
        raise InputError("the options do not start a session")
    width, height = _size(options, kind)
    return Plan(drives, pushes, parsed, parse_prompts(options, width, height))


def _size(options: Namespace, kind: str) -> tuple[int, int]:
    """(width, height) of the frames of a file, which is opened; of other sources 1, 1."""
    if kind == "file":
        try:
            with open_source(parse_address(options.source, LiveConfig()).reveal()) as source:
                return source.info.width, source.info.height
        except SourceError as error:
            raise InputError(str(error)) from error
    if needs_frame_size(options):
        raise InputError(
            "--pixels and --mask need the size of the frames, which a stream does not tell before "
            "it runs; give normalised coordinates, or use maskstream prompt later"
        )
    return 1, 1
