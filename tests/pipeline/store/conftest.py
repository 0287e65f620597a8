"""One store of each kind for the tests that say ``store``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from maskstream.pipeline.store import SessionStore, open_store
from tests.pipeline.store.servers import RedisServer, running

KEY = bytes(range(32))


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    store = open_store()
    assert store.url is not None
    yield store.url
    store.close()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server.url


@pytest.fixture(params=["embedded", "redis"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def remote_store(server_url: str, namespace: str) -> Iterator[SessionStore]:
    """A store that other processes can reach."""
    store = open_store(server_url, namespace, secret_key=KEY)
    yield store
    store.close()


@pytest.fixture(params=["memory", "embedded", "redis"])
def store(request: pytest.FixtureRequest, namespace: str) -> Iterator[SessionStore]:
    """An empty store of each kind."""
    url = "memory://"
    if request.param != "memory":
        url = request.getfixturevalue(f"{request.param}_url")
    opened = open_store(url, namespace, secret_key=KEY)
    yield opened
    opened.close()
