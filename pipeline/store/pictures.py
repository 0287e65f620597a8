"""Pictures of a session for those who watch it: a short ring of the newest.

They are no part of the session: they may be lost at any time, and nothing waits for them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Protocol

MAX_PICTURES = 128
"""Of a session. A picture waits in the ring for its result, which may come 15 frames and what is in
detection later, and then as long as a viewer on a slow line takes."""
MAX_PICTURE_BYTES = 256 * 2**10
WATCH_S = 5.0
"""A session is watched for so long after somebody has said so."""
KEPT_S = 60.0
"""A ring that gets no more pictures is forgotten after so long."""
_MAX_RINGS = 64


class PictureRing(Protocol):
    """The rings of all sessions of a store.

    A picture goes by its ``key``: the moment at which its frame was decoded, in microseconds since
    1970 (``picture_key``). It alone is different whenever a frame is decoded again.

    All methods raise StoreError when the store cannot be reached.
    """

    def watch(self, session_id: str) -> None:
        """Say that somebody watches a session; say it again within ``WATCH_S``."""

    def is_watched(self, session_id: str) -> bool:
        """Whether somebody watches a session."""

    def put(self, session_id: str, key: int, picture: bytes) -> None:
        """Add a picture, a JPEG; a key below that of the newest one adds nothing.

        Of more than ``MAX_PICTURES`` the oldest are dropped.
        """

    def get(self, session_id: str, key: int) -> bytes | None:
        """The picture of a key; None if it is not there, or not any more."""


def picture_key(wall_s: float) -> int:
    """The key of the frame that was decoded at this moment, in seconds since 1970."""
    return round(wall_s * 1e6)


class MemoryPictures:
    """See :class:`PictureRing`; for the store in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched_s: OrderedDict[str, float] = OrderedDict()
        self._rings: OrderedDict[str, deque[tuple[int, bytes]]] = OrderedDict()

    def watch(self, session_id: str) -> None:
        with self._lock:
            self._watched_s[session_id] = time.monotonic()
            self._watched_s.move_to_end(session_id)
            while len(self._watched_s) > _MAX_RINGS:
                self._watched_s.popitem(last=False)

    def is_watched(self, session_id: str) -> bool:
        with self._lock:
            watched_s = self._watched_s.get(session_id)
        return watched_s is not None and time.monotonic() - watched_s < WATCH_S

    def put(self, session_id: str, key: int, picture: bytes) -> None:
        with self._lock:
            ring = self._rings.setdefault(session_id, deque(maxlen=MAX_PICTURES))
            self._rings.move_to_end(session_id)
            if not ring or ring[-1][0] < key:
                ring.append((key, picture))
            while len(self._rings) > _MAX_RINGS:
                self._rings.popitem(last=False)

    def get(self, session_id: str, key: int) -> bytes | None:
        with self._lock:
            ring = self._rings.get(session_id, ())
            return next((picture for known, picture in ring if known == key), None)
