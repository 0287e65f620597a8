"""What the parts of the Redis store share."""

from __future__ import annotations

from pydantic import BaseModel

from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.connection import Connection
from maskstream.pipeline.store.sealing import Sealer


class RedisPart:
    """A part of the store: methods that belong together, over the store's one connection."""

    def __init__(self, link: Connection, sealer: Sealer) -> None:
        self._link = link
        self._sealer = sealer
        self._keys = link.keys
        self._run = link.run_in_session


def token(writer: int | None) -> str | int:
    """A writer as an argument of a script; empty: it is not to be checked."""
    return "" if writer is None else writer


def optional_json(record: BaseModel | None, what: str) -> bytes:
    """A record as an argument of a script; empty: there is none."""
    return b"" if record is None else to_json(record, what)
