"""Where sessions live: in Redis or Valkey, one's own or the embedded one, or in this process.

Importing this needs neither torch nor Ray.
"""

from __future__ import annotations

from pathlib import Path

from maskstream.core.errors import ConfigError
from maskstream.pipeline.store.base import SessionStore
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from maskstream.pipeline.store.memory import MemoryStore
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
    num_retries: int = 12,
) -> SessionStore:
    """Open a session store.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``; ``memory://`` for this process
            alone; None starts an embedded server, whose ``url`` other processes can open while
            this one lives.
        namespace: first part of all keys.
        secret_key: 32 random bytes or more, the same for all who open the store, to seal
            credentials of sources with. None takes MASKSTREAM_SECRET_KEY (hexadecimal), or the
            embedded server's own; without any, sources with credentials are refused.
        persistence_dir: where the embedded server keeps its data; None: nowhere.
        timeout_s: for connecting, and for each answer.
        num_retries: of each command while the server is away, about a quarter of a second apart.

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
            num_retries=num_retries,
        )
    from maskstream.pipeline.store.embedded import EmbeddedServer

    server = EmbeddedServer(persistence_dir)
    try:
        return RedisStore(
            server.url,
            namespace=namespace,
            secret_key=find_key(server.url) if secret_key is None else secret_key,
            timeout_s=timeout_s,
            num_retries=num_retries,
            on_close=server.close,
        )
    except BaseException:
        server.close()
        raise
