"""A web service on a port of its own, over a store whose sessions a made-up model serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import MemoryStore, SessionLimits
from maskstream.pipeline.web.app import build_app
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.server import WebServer
from tests.pipeline.scripted import serving


@dataclass(frozen=True)
class Stack:
    store: MemoryStore
    server: WebServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@contextmanager
def web_stack(limits: SessionLimits | None = None, **config: Any) -> Iterator[Stack]:
    store = MemoryStore()
    options = WebConfig(**{"port": 0, "requests_per_s": 1e6, **config})
    app = build_app(Client(store, limits=limits), options)
    with serving(store), WebServer(app, options) as server:
        yield Stack(store, server)
    store.close()


def start(http: httpx.Client, source: Path | str, **fields: Any) -> str:
    answer = http.post("/v1/sessions", json={"resource_path": str(source), **fields})
    assert answer.status_code == 201, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id
