"""RTSP where hosts are filtered: FFmpeg sees the relay, which connects to who was checked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maskstream.pipeline.live import (
    FaultKind,
    HostFilter,
    LiveConfig,
    LiveSourceError,
    open_live,
    parse_address,
)
from maskstream.pipeline.live.rtsp_relay import RtspRelay
from maskstream.pipeline.sources import open_source
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.live.rtsp import Listener, RtspProxy, RtspServer
from tests.pipeline.ports import HOST, free_port

NUM_FRAMES = 15
ALLOWED = LiveConfig(hosts=HostFilter((HOST,)), max_reconnect_s=0.1, queue_size=100)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    media = tmp_path_factory.mktemp("media")
    write_numbered_clip(media / "clip.mp4", NUM_FRAMES, fps=25, options={"bf": "0", "g": "5"})
    with RtspServer(media) as running:
        yield running


def _fault(url: str, config: LiveConfig = ALLOWED) -> LiveSourceError:
    with open_live(url, config) as live, pytest.raises(LiveSourceError) as caught:
        live.read(60)
    assert live.wait_released(30)
    return caught.value


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_plays_bit_exactly_through_it(
    server: RtspServer, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> None:
    config = LiveConfig(hosts=HostFilter((HOST,)), queue_size=100, transport=transport)  # type: ignore[arg-type]
    with open_live(server.url(play_count=1), config) as live:
        frames = [live.read(60) for _ in range(NUM_FRAMES)]
        assert live.wait_for(lambda s: s.last_fault is not None, 60)
        assert live.last_fault is not None
        assert live.last_fault.kind == FaultKind.DISCONNECTED
    assert live.wait_released(30)
    clip = next(tmp_path_factory.getbasetemp().glob("media*/clip.mp4"))
    with open_source(clip) as source:
        expected = [frame.image for frame in source]
    for frame, image in zip(frames, expected, strict=True):
        assert frame is not None
        assert np.array_equal(frame.image, image)


@pytest.mark.parametrize("digest", [False, True])
def test_passwords_reach_the_server(server: RtspServer, digest: bool) -> None:
    with RtspProxy(server.port, credentials=("admin", "p@ss"), digest=digest) as proxy:
        url = server.url(port=proxy.port)
        with open_live(url.replace("://", "://admin:p%40ss@"), ALLOWED) as live:
            assert live.read(60) is not None
        wrong = _fault(url.replace("://", "://admin:wrong@"))
        assert wrong.fault.kind == FaultKind.UNAUTHORIZED
        assert "wrong@" not in str(wrong)


def test_no_redirect_is_followed() -> None:
    calls: list[socket.socket] = []

    def redirect(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(
            f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://{HOST}:{other.port}/x\r\n\r\n".encode()
        )
        client.recv(4096)

    with Listener(calls.append) as other, Listener(redirect) as server:
        fault = _fault(f"rtsp://{HOST}:{server.port}/x").fault
        assert (fault.kind, "redirects" in fault.message) == (FaultKind.REJECTED, True)
    assert calls == []


def test_faults_are_those_of_the_server(server: RtspServer) -> None:
    assert _fault(server.url("none.mp4")).fault.kind == FaultKind.NOT_FOUND
    assert _fault(f"rtsp://{HOST}:{free_port()}/x").fault.kind == FaultKind.REFUSED
    refused = LiveConfig(hosts=HostFilter(("cam",)))
    assert _fault(f"rtsp://localhost:{server.port}/x", refused).fault.kind == FaultKind.FORBIDDEN


def test_nobody_needs_to_come() -> None:
    with Listener(lambda client: client.recv(1)) as server:
        address = parse_address(f"rtsp://u:p@{HOST}:{server.port}/x?a=b", ALLOWED)
        relay = RtspRelay(address, ALLOWED)
        assert relay.location.startswith(f"rtsp://u:p@{HOST}:")
        assert relay.location.endswith("/x?a=b")
        relay.close()
        relay.close()


def test_a_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    def no_tls(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(b"RTSP/1.0 400 Bad Request\r\n\r\n")

    with Listener(no_tls) as server:
        fault = _fault(f"rtsps://{HOST}:{server.port}/x").fault
    assert (fault.kind, "secure connection" in fault.message) == (FaultKind.UNREACHABLE, True)
