"""Options and calls that all commands for running sessions share."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Any

from maskstream.core.errors import ConfigError, InputError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE

URL_VARIABLE = "MASKSTREAM_REDIS_URL"


def add_store_options(parser: ArgumentParser, *, url_help: str | None = None) -> None:
    """Define ``--redis``, ``--namespace`` and ``--debug``."""
    group = parser.add_argument_group("session store")
    group.add_argument(
        "--redis",
        metavar="URL",
        default=os.environ.get(URL_VARIABLE) or None,
        help=url_help
        or "the address of the runtime's Redis or Valkey, which maskstream serve prints; default: "
        f"${URL_VARIABLE}",
    )
    group.add_argument(
        "--namespace",
        default=DEFAULT_NAMESPACE,
        help="the prefix of all keys; default: %(default)s",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")


def open_client(options: Namespace) -> Client:
    """A client of the runtime that the options name.

    Raises:
        ConfigError: the options name no runtime.
        StoreError: its store cannot be reached.
    """
    if options.redis is None:
        raise ConfigError(
            "which runtime? give --redis URL, the address that maskstream serve prints, or set "
            f"{URL_VARIABLE}"
        )
    return Client(
        options.redis,
        namespace=options.namespace,
        takeover_timeout_s=getattr(options, "takeover_s", None),
    )


def frame_size(client: Client, session_id: str) -> tuple[int, int]:
    """(width, height) of a session's newest result.

    Raises:
        InputError: there is no result yet.
    """
    record = newest_record(client, session_id)
    if record is None:
        raise InputError(
            f"session {session_id} has no result yet that tells how large its frames are; "
            "give normalised coordinates, or wait for the first frame"
        )
    return int(record["width"]), int(record["height"])


def newest_record(client: Client, session_id: str) -> dict[str, Any] | None:
    """The record of a session's newest result; None when there is no result."""
    newest = client.store.get_session(session_id).result_sequence
    # The last entry may be the end of a run.
    page = client.store.read_results(session_id, max(0, newest - 4))
    frames = [entry for entry in page.entries if entry.kind == "frame"]
    return frames[-1].record if frames else None
