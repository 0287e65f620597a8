"""The Redis store's pictures of sessions: a capped stream for each that is watched."""

from __future__ import annotations

from maskstream.pipeline.store.connection import Connection
from maskstream.pipeline.store.pictures import KEPT_S, MAX_PICTURES, WATCH_S


class RedisPictures:
    """See :class:`maskstream.pipeline.store.pictures.PictureRing`."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._keys = link.keys

    def watch(self, session_id: str) -> None:
        self._link.set_for(self._keys.watched(session_id), WATCH_S)

    def is_watched(self, session_id: str) -> bool:
        return self._link.exists(self._keys.watched(session_id))

    def put(self, session_id: str, key: int, picture: bytes) -> None:
        self._link.add_capped(self._keys.pictures(session_id), key, picture, MAX_PICTURES, KEPT_S)

    def get(self, session_id: str, key: int) -> bytes | None:
        return self._link.read_entry(self._keys.pictures(session_id), key)
