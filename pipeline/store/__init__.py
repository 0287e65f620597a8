"""The session store: sessions in Redis or Valkey, in an embedded server, or in this process.

Importing this needs neither torch nor Ray.
"""

from __future__ import annotations

from pathlib import Path

from maskstream.core.errors import ConfigError
from maskstream.pipeline.store.base import SessionStore
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from maskstream.pipeline.store.memory import MemoryStore
from maskstream.pipeline.store.patience import RETRY_FOR_S
from maskstream.pipeline.store.records import (
    Checkpoint,
    Claim,
    Counters,
    JournalEntry,
    JournalPage,
    NewEntry,
    NewSession,
    Outcome,
    PushedFrame,
    PushedPage,
    PushReceipt,
    ResultEntry,
    ResultPage,
    ServiceLimits,
    SessionLimits,
    SessionListing,
    SessionRecord,
    SessionState,
)
from maskstream.pipeline.store.sealing import find_key

__all__ = [
    "Checkpoint",
    "Claim",
    "Counters",
    "JournalEntry",
    "JournalPage",
    "MemoryStore",
    "NewEntry",
    "NewSession",
    "Outcome",
    "PushReceipt",
    "PushedFrame",
    "PushedPage",
    "ResultEntry",
    "ResultPage",
    "ServiceLimits",
    "SessionLimits",
    "SessionListing",
    "SessionRecord",
    "SessionState",
    "SessionStore",
    "open_store",
]

MEMORY_URL = "memory://"


def open_store(
    url: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    *,
    secret_key: bytes | None = None,
    persistence_dir: Path | str | None = None,
    timeout_s: float = 5.0,
    retry_for_s: float = RETRY_FOR_S,
) -> SessionStore:
    """Open a session store.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://`` of a running server; ``memory://``
            keeps everything in this process. None starts an embedded server, which ends with this
            process; until then other processes open it by the store's ``url``.
        namespace: the first part of all keys.
        secret_key: at least 32 random bytes, with which the credentials of sources are encrypted.
            All processes that open the store need the same. None takes MASKSTREAM_SECRET_KEY
            (hexadecimal), or the embedded server's own key; without a key, sources with
            credentials are refused.
        persistence_dir: the folder in which the embedded server keeps its data; None: it keeps
            them in memory only.
        timeout_s: how long connecting may take, and each answer.
        retry_for_s: how long a command is repeated while the server is away or still loads its
            data, in seconds.

    Raises:
        ConfigError: an argument cannot be used.
        StoreError: the server cannot be reached, used or started.
    """
    if persistence_dir is not None and url is not None:
        raise ConfigError(
            "persistence_dir is for the embedded server; a server given by URL keeps its own data"
        )
    if url == MEMORY_URL:
        return MemoryStore()
    from maskstream.pipeline.store.redis_store import RedisStore

    if url is not None:
        key = find_key(url) if secret_key is None else secret_key
        return RedisStore(
            url,
            namespace=namespace,
            secret_key=key,
            timeout_s=timeout_s,
            retry_for_s=retry_for_s,
        )
    from maskstream.pipeline.store.embedded import EmbeddedServer

    server = EmbeddedServer(persistence_dir)
    try:
        return RedisStore(
            server.url,
            namespace=namespace,
            secret_key=find_key(server.url) if secret_key is None else secret_key,
            timeout_s=timeout_s,
            retry_for_s=retry_for_s,
            on_close=server.close,
        )
    except BaseException:
        server.close()
        raise
