"""The address of a store, with which another process opens it."""

from __future__ import annotations

from dataclasses import dataclass

from maskstream.pipeline.store import SessionStore, open_store
from maskstream.pipeline.store.patience import RETRY_FOR_S


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """What another process needs to open the store. Never shown: the URL may hold a password."""

    url: str
    namespace: str
    secret_key: bytes | None
    retry_for_s: float = RETRY_FOR_S

    def open(self) -> SessionStore:
        return open_store(
            self.url,
            self.namespace,
            secret_key=self.secret_key,
            retry_for_s=self.retry_for_s,
        )

    def __repr__(self) -> str:
        return f"StoreAddress(namespace={self.namespace!r})"
