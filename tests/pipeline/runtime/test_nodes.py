"""What is said of a cluster before any of its workers is started."""

from __future__ import annotations

import socket
from functools import cache

import pytest
import ray
from ray._private import services

from maskstream.core.errors import ConfigError
from maskstream.pipeline.runtime import RuntimeConfig
from maskstream.pipeline.runtime.nodes import check_reachable, start_ray


@pytest.mark.parametrize("address", ["nonsense", "host:port", "192.0.2.1", ":6379", "a:70000"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected host:port, or \"auto\""):
        start_ray(RuntimeConfig(ray_address=address))


def test_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests may have a cluster on this machine at this moment.
    monkeypatch.setattr(services, "find_gcs_addresses", cache(frozenset))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        host, port = closed.getsockname()
    for address in (f"{host}:{port}", "auto"):
        with pytest.raises(ConfigError, match=f"no Ray cluster is found at '{address}'"):
            start_ray(RuntimeConfig(ray_address=address))
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "url",
    ["unix:///tmp/s", "redis://localhost/0", "redis://127.0.0.3:6379", "redis://:pw@[::1]:1/0"],
)
def test_a_store_that_other_machines_cannot_reach_is_refused(url: str) -> None:
    check_reachable(url, {"192.0.2.1"})
    with pytest.raises(ConfigError, match=r"2 machines; give --redis an address") as raised:
        check_reachable(url, {"192.0.2.1", "192.0.2.2"})
    assert "pw" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://store:6379/0", "rediss://192.0.2.3", "redis://[2001:db8::1]"]
)
def test_a_store_with_an_address_is_not(url: str) -> None:
    check_reachable(url, {"192.0.2.1", "192.0.2.2"})
