"""The session store in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Callable

from maskstream.core.closing import Closing
from maskstream.pipeline.store.connection import Connection
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE, Keys
from maskstream.pipeline.store.patience import RETRY_FOR_S
from maskstream.pipeline.store.pictures import PictureRing
from maskstream.pipeline.store.redis_frames import RedisFrames
from maskstream.pipeline.store.redis_logs import RedisLogs
from maskstream.pipeline.store.redis_pictures import RedisPictures
from maskstream.pipeline.store.redis_sessions import RedisSessions
from maskstream.pipeline.store.sealing import Sealer


class RedisStore(RedisSessions, RedisLogs, RedisFrames, Closing):
    """See :class:`maskstream.pipeline.store.base.SessionStore`.

    Args:
        url: see :class:`Connection`, as for ``timeout_s`` and ``retry_for_s``.
        secret_key: encrypts the credentials of sources; None: sources that have some are refused.
        on_close: called when the store is closed, once.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        secret_key: bytes | None = None,
        timeout_s: float = 5.0,
        retry_for_s: float = RETRY_FOR_S,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        keys, sealer = Keys(namespace), Sealer(secret_key)
        link = Connection(url, keys, timeout_s=timeout_s, retry_for_s=retry_for_s)
        super().__init__(link, sealer)
        self.pictures: PictureRing = RedisPictures(link)
        self._on_close = on_close

    def __repr__(self) -> str:
        return f"RedisStore({self._link.shown!r}, namespace={self._keys.namespace!r})"

    @property
    def url(self) -> str | None:
        return self._link.url

    def ping(self) -> None:
        self._link.ping()

    def close(self) -> None:
        self._link.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()
