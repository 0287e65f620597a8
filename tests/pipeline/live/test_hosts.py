"""Hosts are checked by the address that is connected to: in URLs, redirects and playlists."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from maskstream.core.errors import ConfigError, InputError
from maskstream.pipeline.live import (
    FaultKind,
    HostFilter,
    LiveConfig,
    LiveSourceError,
    open_live,
    parse_address,
)
from maskstream.pipeline.live.hosts import HostRefusedError, connect
from maskstream.pipeline.live.reader import checked_location
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.live.rtsp import Listener
from tests.pipeline.live.web import Web, folder, giving, redirecting, serving
from tests.pipeline.ports import HOST

METADATA = [
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
]
LOCAL = ["127.0.0.1", "127.1", "::1", "0.0.0.0", "::", "10.1.2.3", "192.168.0.9", "172.16.0.1",
         "100.64.0.1", "fd12::1", "::ffff:10.1.2.3", "224.0.0.1", "localhost"]  # fmt: skip
PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
EVERYTHING = HostFilter(("*", "0.0.0.0/0", "::/0"), for_this_machine=True)


@pytest.mark.parametrize("host", METADATA)
def test_link_local_addresses_are_never_admitted(host: str) -> None:
    for hosts in (HostFilter(), EVERYTHING, HostFilter((host,) if ":" not in host else ())):
        with pytest.raises(HostRefusedError, match="link-local"):
            hosts.addresses(host, 80)


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_and_its_network_are_admitted_by_name_or_on_it(host: str) -> None:
    with pytest.raises(HostRefusedError, match=rf"not public.*--allow-hosts {host}"):
        HostFilter().addresses(host, 80)
    for hosts in (HostFilter(for_this_machine=True), HostFilter((host,)), HostFilter(("*",))):
        assert hosts.addresses(host, 80)


@pytest.mark.parametrize("host", PUBLIC)
def test_public_hosts_are_admitted(host: str) -> None:
    assert HostFilter().addresses(host, 80)


def test_what_is_allowed_is_a_name_a_pattern_or_a_range() -> None:
    hosts = HostFilter(("cam-*.lan", "10.1.0.0/16", "fd12::/64", "LOCALHOST"))
    assert hosts.addresses("10.1.255.1", 80) == ["10.1.255.1"]
    assert hosts.addresses("::ffff:10.1.255.1", 80)
    assert hosts.addresses("fd12::9", 80) == ["fd12::9"]
    assert hosts.addresses("localhost", 80)
    for host in ("10.2.0.1", "127.0.0.1", "fd12:0:0:1::9"):
        with pytest.raises(HostRefusedError):
            hosts.addresses(host, 80)
    for wrong in ("", "10.1.0.0/99", "http://cam", "a b", "cam/24", "user@cam"):
        with pytest.raises(ConfigError, match="allowed hosts"):
            HostFilter((wrong,))


def test_a_name_is_checked_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers with several addresses, or another time with others."""

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "cam.example"
        return [(0, 0, 0, "", (address, port)) for address in answers]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    answers = ["169.254.169.254", "8.8.8.8", "127.0.0.1"]
    assert HostFilter().addresses("cam.example", 80) == ["8.8.8.8"]
    assert HostFilter(("cam.*",)).addresses("cam.example", 80) == ["8.8.8.8", "127.0.0.1"]
    with pytest.raises(HostRefusedError):
        HostFilter().addresses("cam.example", 80, must_all_fit=True)
    answers = ["169.254.169.254"]
    with pytest.raises(HostRefusedError, match=r"cam.example \(169.254.169.254\) is link-local"):
        HostFilter(("cam.example",)).addresses("cam.example", 80)


def test_a_connection_goes_to_an_address_that_was_checked() -> None:
    with Listener(lambda client: None) as listener:
        with pytest.raises(HostRefusedError):
            connect(HOST, listener.port, HostFilter(), 5)
        with connect("localhost", listener.port, HostFilter(("localhost",)), 5) as connection:
            assert connection.getpeername()[1] == listener.port


def test_an_address_in_a_url_is_refused_before_anything_is_opened() -> None:
    config = LiveConfig(hosts=HostFilter())
    for url in ("http://127.0.0.1/x", "rtsp://u:p@[::1]:554/x", "https://169.254.169.254/latest"):
        with pytest.raises(InputError, match="host"):
            parse_address(url, config)
    assert parse_address("http://8.8.8.8/x.mp4", config).kind == "stream"


def test_rtsp_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def location(url: str, hosts: HostFilter, **options: bool) -> str:
        config = LiveConfig(hosts=hosts, **options)  # type: ignore[arg-type]
        return checked_location(parse_address(url, config), config)

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    address = "8.8.8.8"
    assert location("rtsp://u:p%40@cam:8554/x?a=b", HostFilter()) == (
        "rtsp://u:p%40@8.8.8.8:8554/x?a=b"
    )
    # The certificate is compared with the name.
    assert location("rtsps://cam/x", HostFilter()) == "rtsps://cam/x"
    assert location("rtsps://cam/x", HostFilter(), tls_verify=False) == "rtsps://8.8.8.8/x"
    address = "2001:4860:4860::8888"
    assert location("rtsp://cam/x", HostFilter()) == "rtsp://[2001:4860:4860::8888]/x"
    address = "10.0.0.1"
    for url in ("rtsp://cam/x", "rtsps://cam/x"):
        with pytest.raises(HostRefusedError, match="not public"):
            location(url, HostFilter())
        assert "/x" in location(url, HostFilter(("cam",)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("web") / "clip.ts", 5, options={"bf": "0"})


@pytest.fixture
def secret(clip: Path) -> Iterator[Web]:
    """What a service could reach and its clients must not."""
    with serving(folder(clip.parent) | {"/key": giving(bytes(16))}, "127.0.0.2") as web:
        yield web


ALLOWED = LiveConfig(hosts=HostFilter((HOST,)), max_reconnect_s=0.1)


def test_a_name_that_nobody_knows_is_told_as_before() -> None:
    for url in ("http://nobody.invalid/x", "rtsp://nobody.invalid/x"):
        for config in (ALLOWED, replace(ALLOWED, hosts=None)):
            with open_live(url, config) as live, pytest.raises(LiveSourceError) as caught:
                live.read(60)
            assert caught.value.fault.kind == FaultKind.UNREACHABLE


def _refusal(url: str) -> str:
    with open_live(url, ALLOWED) as live, pytest.raises(LiveSourceError) as caught:
        list(live)
    assert caught.value.fault.kind == FaultKind.FORBIDDEN
    assert live.stats().num_attempts == 1  # it is not tried again
    return str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_to_a_host_that_is_refused(secret: Web, status: int) -> None:
    target = f"{secret.url}/clip.ts"
    with serving({"/a": redirecting("/b"), "/b": redirecting(target, status)}) as web:
        assert "127.0.0.2 is not public" in _refusal(f"{web.url}/a")
        assert web.asked == ["/a", "/b"]
    assert secret.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "rtsp://127.0.0.2/x", "ftp://127.0.0.2/"])
def test_a_redirect_leads_to_http_only(target: str) -> None:
    with serving({"/a": redirecting(target)}) as web, open_live(f"{web.url}/a", ALLOWED) as live:
        with pytest.raises(LiveSourceError):
            live.read(30)
        assert web.asked[0] == "/a"


@pytest.mark.parametrize(
    "lines",
    [
        "#EXTINF:1,\n{secret}/clip.ts\n",
        "#EXTINF:1,\nclip.ts\n#EXTINF:1,\n{secret}/clip.ts\n",
        "#EXTINF:1,\nmoved.ts\n",
        '#EXT-X-KEY:METHOD=AES-128,URI="{secret}/key"\n#EXTINF:1,\nclip.ts\n',
        '#EXT-X-KEY:METHOD=AES-128,URI="moved.key"\n#EXTINF:1,\nclip.ts\n',
        '#EXT-X-MAP:URI="{secret}/clip.ts"\n#EXTINF:1,\nclip.ts\n',
    ],
)
def test_no_playlist_leads_to_a_host_that_is_refused(clip: Path, secret: Web, lines: str) -> None:
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
    text = head + lines.format(secret=secret.url) + "#EXT-X-ENDLIST\n"
    routes = folder(clip.parent) | {
        "/list.m3u8": giving(text.encode()),
        "/master.m3u8": giving(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nlist.m3u8\n"),
        "/moved.ts": redirecting(f"{secret.url}/clip.ts"),
        "/moved.key": redirecting(f"{secret.url}/key"),
    }
    with serving(routes) as web:
        for name in ("list.m3u8", "master.m3u8"):
            assert "127.0.0.2 is not public" in _refusal(f"{web.url}/{name}")
    assert secret.asked == []


def test_no_playlist_of_the_web_names_a_file_of_this_machine(clip: Path) -> None:
    for name in (str(clip), f"file://{clip}", f"concat:{clip}|{clip}"):
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"
        config = LiveConfig(max_reconnect_s=0.1)
        with (
            serving({"/list.m3u8": giving(text.encode())}) as web,
            open_live(f"{web.url}/list.m3u8", config) as live,
            pytest.raises(LiveSourceError),
        ):
            live.read(30)
