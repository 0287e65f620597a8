"""The address of a store, with which another process opens it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

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


def is_on_this_machine(url: str) -> bool:
    """Whether a store's URL names this machine itself, on whichever machine it is used: a unix
    socket, localhost.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return True
    host = parts.hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name
        return host == "localhost"
