"""Addresses: what is allowed, and credentials that never show."""

from __future__ import annotations

import pickle
import time
import traceback
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskstream.core.errors import InputError, SourceError
from maskstream.core.redaction import redact
from maskstream.pipeline.live import FaultKind, LiveConfig, LiveSourceError, parse_address
from maskstream.pipeline.live.faults import opening_fault
from maskstream.pipeline.live.reader import StreamReader, stream_options
from tests.pipeline.ports import HOST, free_port

CONFIG = LiveConfig()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.1:554/a?b=1", "rtsp://***@10.0.0.1:554/a?b=1"),
        ("RTSP://admin:hunter2@cam/", "RTSP://***@cam/"),
        ("rtsp://admin:hun@ter2@cam/x", "rtsp://***@cam/x"),
        ("https://cam/x.m3u8?token=hunter2&n=3", "https://cam/x.m3u8?token=***&n=3"),
        ("http://cam/video?user=admin&password=hunter2", "http://cam/video?user=***&password=***"),
        ("https://cam/a;sid=1#access%5Ftoken=hunter2", "https://cam/a;sid=1#access%5Ftoken=***"),
        ("rtsp://cam/plain", "rtsp://cam/plain"),
    ],
)
def test_credentials_do_not_show(url: str, shown: str) -> None:
    address = parse_address(url, CONFIG)
    assert (address.kind, address.shown, str(address)) == ("stream", shown, shown)
    assert "hunter2" not in repr(address)
    assert address.reveal() == url
    assert address.scrub(f"cannot open '{url}': hunter2 is wrong").count("hunter2") == int(
        "hunter2" not in url
    )


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_no_password_shows_whether_the_url_is_valid_or_not(password: str) -> None:
    password = f"Hunter{password}2"
    for url in (f"rtsp://admin:{password}@cam/stream", f"rtsp:/admin:{password}@cam"):
        assert "Hunter" not in _shown_or_refused(url)
    assert "Hunter" not in _shown_or_refused(f"https://cam/?password={quote(password)}")


def _shown_or_refused(url: str) -> str:
    try:
        return str(parse_address(url, CONFIG))
    except (InputError, SourceError) as error:
        return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("rtsp://cam/\n", "control characters"),
        ("rtsp://" + "a" * 5000, "longer"),
        ("ftp://cam/x.mp4", "'ftp' is not allowed"),
        ("concat:a.mp4|b.mp4", "'concat' is not allowed"),
        ("subfile,,start,0,end,9,,:/etc/passwd", "does not exist"),
        ("data:video/mp4;base64,AAAA", "'data' is not allowed"),
        ("pipe:0", "'pipe' is not allowed"),
        ("udp://0.0.0.0:1234", "'udp' is not allowed"),
        ("rtsp:/cam/x", "not a valid URL"),
        ("rtsp:///x", "not a valid URL"),
        ("rtsp://cam:port/x", "not a valid URL"),
        ("rtsp://cam /x", "not a valid URL"),
        ("rtsp://admin:12#ss@host/x", "%23 for #, %2F for / and %3F"),
        ("rtsp://admin:p@ss/w0rd@host/x", "%2F for /"),
        ("rtsp://admin:12/3@host/x", "%2F for /"),
        ("rtsps://admin:12?3@host/x", "%3F for \\?"),
        ("rtsp://admin:p#ss@host/x", "%23 for #"),
        ("file://elsewhere/etc/x.mp4", "names no host"),
        ("/no/such/file.mp4", "does not exist"),
    ],
)
def test_what_is_not_allowed_is_refused_with_a_reason(source: str, reason: str) -> None:
    with pytest.raises((InputError, SourceError), match=reason):
        parse_address(source, CONFIG)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:p%23%2F%3Fss@host/x",
        "rtsp://admin:p@ss@host/x",
        "rtsp://cam:554/x?user=me@home",
        "rtsp://cam/a@b",
        "http://cam:8080/@me/live",
    ],
)
def test_an_at_sign_elsewhere_is_none_of_a_password(url: str) -> None:
    assert parse_address(url, CONFIG).reveal() == url


def test_files_lie_in_the_allowed_folders_links_followed(tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    allowed.mkdir()
    other.mkdir()
    inside, outside = allowed / "a b:c.mp4", other / "x.mp4"
    inside.touch()
    outside.touch()
    (allowed / "link.mp4").symlink_to(outside)
    config = LiveConfig(allowed_roots=(allowed,))
    for source in (inside, str(inside), f"file://{allowed}/a%20b:c.mp4"):
        assert parse_address(source, config).reveal() == str(inside)
    assert parse_address(allowed, config).kind == "file"
    refused = [
        outside,
        allowed / "link.mp4",
        allowed / ".." / "other" / "x.mp4",
        f"file://{outside}",
        f"file://{allowed}/%2e%2e/other/x.mp4",
        tmp_path / "missing.mp4",
    ]
    for source in refused:
        with pytest.raises(InputError, match="allowed folders"):
            parse_address(source, config)


def test_schemes_can_be_taken_away(tmp_path: Path) -> None:
    config = LiveConfig(allowed_schemes=frozenset({"rtsp"}))
    assert parse_address("rtsp://cam/", config).kind == "stream"
    for source in ("http://cam/", str(tmp_path), f"file://{tmp_path}", "/dev/video0"):
        with pytest.raises(InputError, match="not allowed"):
            parse_address(source, config)
    assert parse_address("/dev/video0", CONFIG).kind == "device"
    assert parse_address("v4l2:///dev/video0", CONFIG).reveal() == "/dev/video0"


def test_ffmpegs_own_words_hold_the_url_and_ours_do_not() -> None:
    url = f"rtsp://admin:hunter2@{HOST}:{free_port()}/x"
    with pytest.raises(av.FFmpegError, match="hunter2"):
        av.open(url)
    with pytest.raises(LiveSourceError) as caught:
        StreamReader(parse_address(url, CONFIG), CONFIG)
    assert caught.value.fault.kind == FaultKind.REFUSED
    assert caught.value.__context__ is None
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.fault == caught.value.fault


def test_unknown_errors_are_told_without_the_url() -> None:
    address = parse_address("rtsp://admin:hunter2@cam/x", CONFIG)
    error = av.error.BugError(-1, "odd: rtsp://admin:hunter2@cam/x", "rtsp://admin:hunter2@cam/x")
    fault = opening_fault(error, address, 0.1, 5).fault
    assert (fault.kind, "odd" in fault.message) == (FaultKind.INVALID, True)
    assert "hunter2" not in fault.message


def test_options_fit_the_scheme() -> None:
    def options(url: str, **config: object) -> dict[str, str]:
        checked = LiveConfig(**config)  # type: ignore[arg-type]
        return stream_options(parse_address(url, checked), checked)

    assert options("rtsp://cam/")["rtsp_transport"] == "tcp"
    assert options("rtsp://cam/", transport="udp")["rtsp_transport"] == "udp"
    assert options("rtsp://cam/", read_timeout_s=0.5)["timeout"] == "500000"
    assert options("rtsps://cam/")["tls_verify"] == "1"
    assert options("rtsps://cam/", tls_verify=False)["tls_verify"] == "0"


def test_redact_finds_urls_in_a_text() -> None:
    text = "tried rtsp://a:b@c/d, then 'https://e/f?sig=g' twice"
    assert redact(text) == "tried rtsp://***@c/d, then 'https://e/f?sig=***' twice"


def test_hiding_is_fast_whatever_the_text() -> None:
    for piece in ("?pass", "?", "://", "@", "a=&", "?password="):
        started_s = time.process_time()
        redact(piece * 800)
        _shown_or_refused("rtsp://cam/" + piece * 400)
        assert time.process_time() - started_s < 1
