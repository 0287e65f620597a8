"""Who gets through to the service, and who does not."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from maskstream.core.errors import ConfigError
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import MemoryStore, NewSession, open_store
from maskstream.pipeline.store.keys import Keys
from maskstream.pipeline.web.app import build_app
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.rates import RequestRates
from maskstream.pipeline.web.server import WebServer
from maskstream.pipeline.web.tokens import Caller, Tokens, make_token
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.web.stack import Stack, start, web_stack

ANN, _ANN_LINE = make_token("ann")
BOB, _BOB_LINE = make_token("bob")
ROOT, _ROOT_LINE = make_token("root", is_admin=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 4)


@pytest.fixture(scope="module")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(f"# who may use it\n\n{_ANN_LINE}\n{_BOB_LINE}\n{_ROOT_LINE}\n")
    return file


@pytest.fixture(scope="module")
def stack(tokens_file: Path) -> Iterator[Stack]:
    with web_stack(tokens_file=tokens_file, request_timeout_s=1.0, max_body_bytes=10_000) as stack:
        yield stack


@pytest.fixture(scope="module")
def open_stack() -> Iterator[Stack]:
    with web_stack() as stack:
        yield stack


@pytest.mark.parametrize(
    "token", [None, "wrong", ANN[:-1], "é"], ids=["none", "wrong", "cut short", "no ASCII"]
)
def test_without_a_known_token_nothing_is_told(stack: Stack, token: str | None) -> None:
    headers = {} if token is None else {"authorization": f"Bearer {token}".encode()}
    for path in ("/v1/sessions", "/v1/me", "/openapi.json"):
        answer = httpx.get(stack.url + path, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_health_needs_no_token(stack: Stack) -> None:
    with stack.http() as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").json() == {"is_ready": True, "missing": []}


def test_a_service_that_lacks_something_says_what(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    with web_stack(uploads=folder) as stack, stack.http() as http:
        answer = http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing"] == [f"the folder of uploads is gone: {folder}"]


def test_a_service_whose_store_is_gone_is_not_ready() -> None:
    store = open_store(retry_for_s=0.0)
    config = WebConfig(port=0)
    with WebServer(build_app(Client(store), config), config) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{url}/readyz").status_code == 200
        store.close()
        answer = httpx.get(f"{url}/readyz", timeout=60)
        assert answer.status_code == 503
        assert answer.json()["missing"]
        assert httpx.get(f"{url}/v1/sessions", timeout=60).status_code == 503


def test_nobody_reaches_the_sessions_of_another(stack: Stack, clip: Path) -> None:
    with stack.http(ANN) as ann, stack.http(BOB) as bob:
        mine = start(ann, clip)
        routes = [
            ("GET", "", None),
            ("DELETE", "", None),
            ("POST", "/prompts", {"frame_index": 0, "text": "dog"}),
            ("DELETE", "/prompts/0", None),
            ("DELETE", "/objects/0", None),
            ("POST", "/propagate", {}),
            ("POST", "/cancel", None),
            ("POST", "/pause", None),
            ("POST", "/resume", None),
            ("POST", "/reset", None),
            ("GET", "/results", None),
            ("GET", "/events", None),
            ("POST", "/frames?is_last=true", None),
        ]
        for method, path, body in routes:
            refused = bob.request(method, f"/v1/sessions/{mine}{path}", json=body)
            unknown = bob.request(method, f"/v1/sessions/{'0' * 32}{path}", json=body)
            assert refused.status_code == 404, path
            # Bob does not learn that there is one.
            assert _message(refused, mine) == _message(unknown, "0" * 32)
        for kind in ("get_session", "close_session", "stream_results", "propagate_in_video"):
            request = {"type": kind, "session_id": mine}
            assert bob.post("/v1/requests", json=request).status_code == 404
        assert bob.get("/v1/sessions").json()["sessions"] == []
        assert [one["session_id"] for one in ann.get("/v1/sessions").json()["sessions"]] == [mine]
        ann.delete(f"/v1/sessions/{mine}")


def test_nobody_is_told_of_sessions_that_cannot_be_read(tokens_file: Path) -> None:
    """Whose they are cannot be read either."""
    store = open_store()
    store.create_session(NewSession(source="/a.mp4", session_id="odd", owner="ann"))
    with redis.Redis.from_url(store.url or "") as raw:
        raw.hset(Keys().session("odd"), "record", "{")
    config = WebConfig(port=0, tokens_file=tokens_file)
    with store, WebServer(build_app(Client(store), config), config) as server:
        stack = Stack(MemoryStore(), server)
        with stack.http(BOB) as bob, stack.http(ROOT) as root:
            assert bob.get("/v1/sessions").json() == {"sessions": [], "unreadable": []}
            assert "odd" in root.get("/v1/sessions").json()["unreadable"][0]


def test_nobody_starts_sessions_for_another(stack: Stack, clip: Path) -> None:
    with stack.http(BOB) as bob:
        answer = bob.post("/v1/sessions", json={"resource_path": str(clip), "owner": "ann"})
        assert answer.status_code == 400
        assert "owner" in answer.json()["error"]["message"]


def test_an_administrator_sees_all(stack: Stack, clip: Path) -> None:
    with stack.http(ANN) as ann, stack.http(ROOT) as root:
        mine = start(ann, clip)
        assert mine in [one["session_id"] for one in root.get("/v1/sessions").json()["sessions"]]
        assert root.delete(f"/v1/sessions/{mine}").json() == {"is_success": True}


def test_a_page_logs_in_with_a_cookie_that_scripts_cannot_read(stack: Stack) -> None:
    with stack.http() as http:
        assert http.post("/v1/login", json={"token": "wrong"}).status_code == 401
        answer = http.post("/v1/login", json={"token": ANN})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert http.get("/v1/me").json()["owner"] == "ann"
        assert http.post("/v1/logout").json() == {"is_success": True}
        assert http.get("/v1/me").status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_sites_change_nothing(stack: Stack, clip: Path, origin: str) -> None:
    with stack.http() as http:
        http.post("/v1/login", json={"token": ANN})
        answer = http.post(
            "/v1/sessions", json={"resource_path": str(clip)}, headers={"origin": origin}
        )
        assert answer.status_code == 403
        own = http.post("/v1/logout", headers={"origin": stack.url})
        assert own.status_code == 200


def test_without_tokens_only_names_of_this_machine_are_answered(open_stack: Stack) -> None:
    port = open_stack.server.port
    with open_stack.http() as http:
        assert http.get("/v1/me").json()["is_admin"]
        for host in (f"localhost:{port}", "127.0.0.1", "[::1]:80"):
            assert http.get("/v1/me", headers={"host": host}).status_code == 200
        for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
            assert http.get("/v1/me", headers={"host": host}).status_code in (400, 421)


def test_no_address_of_a_network_without_tokens() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match="tokens"):
            WebConfig(host=host)
    WebConfig(host="0.0.0.0", admin_token="x")


def test_every_answer_has_the_headers_that_protect_a_page(stack: Stack) -> None:
    with stack.http() as http:
        for path in ("/healthz", "/v1/me", "/nowhere"):
            headers = http.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


def test_a_large_body_is_refused(stack: Stack) -> None:
    with stack.http(ANN) as http:
        answer = http.post("/v1/requests", content=b'{"type": "' + b"x" * 20_000 + b'"}')
        assert answer.status_code == 413


def test_large_headers_are_refused(stack: Stack) -> None:
    answer = _raw(stack, b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 100_000 + b"\r\n\r\n")
    assert answer == b"" or answer.split()[1] in (b"400", b"431")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n",
        b"POST /v1/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",  # and nothing after the answer
    ],
    ids=["nothing", "half a line", "half of the headers", "half a body", "no second request"],
)
def test_slow_senders_hold_no_connection(stack: Stack, begin: bytes) -> None:
    began = time.monotonic()
    _raw(stack, begin)  # returns when the server closes
    assert time.monotonic() - began < 60


def test_a_slow_reader_of_a_long_answer_is_not_cut_off(stack: Stack, clip: Path) -> None:
    with stack.http(ANN) as http:
        session_id = start(http, "pushed://")
        with http.stream("GET", f"/v1/sessions/{session_id}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: session"
            time.sleep(2.5)  # more than twice as long as a request may take
            http.post(f"/v1/sessions/{session_id}/pause")
            assert any('"state":"paused"' in line for line in lines)
            http.delete(f"/v1/sessions/{session_id}")


def test_who_asks_too_often_waits() -> None:
    with web_stack(requests_per_s=2.0) as stack, stack.http() as http:
        answers = [http.get("/v1/me") for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1


def test_a_bucket_fills_again() -> None:
    now_s = [0.0]
    rates = RequestRates(2.0, lambda: now_s[0])
    assert [rates.wait_s("ann") for _ in range(8)] == [0.0] * 8
    assert rates.wait_s("ann") == pytest.approx(0.5)
    assert rates.wait_s("bob") == 0.0
    now_s[0] = 1.0
    assert [rates.wait_s("ann") > 0 for _ in range(3)] == [False, False, True]


def test_a_token_is_kept_as_its_hash(tokens_file: Path) -> None:
    assert hashlib.sha256(ANN.encode()).hexdigest() in tokens_file.read_text()
    assert ANN not in tokens_file.read_text()


def test_a_token_that_is_taken_away_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(_ANN_LINE)
    tokens = Tokens(file)
    assert tokens.caller(ANN) == Caller("ann")
    file.write_text(_BOB_LINE + "\n\n")
    assert tokens.caller(ANN) is None
    assert tokens.caller(BOB) == Caller("bob")


@pytest.mark.parametrize("line", ["abc ann", f"{'0' * 64}", f"{'0' * 64} ann boss", "ann"])
def test_a_malformed_line_of_tokens_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        Tokens(file)


def test_the_log_holds_no_secret(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "maskstream.web"), stack.http(ANN) as http:
        http.get("/v1/me", params={"url": "rtsp://u:secret@host/"}, headers={"x-request-id": "r1"})
        while '"r1"' not in caplog.text:  # it is written when the answer has been sent
            time.sleep(0.01)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    line = next(line for line in lines if line["request_id"] == "r1")
    assert (line["owner"], line["path"], line["status"]) == ("ann", "/v1/me", 200)
    assert "secret" not in caplog.text
    assert ANN not in caplog.text


def _message(answer: httpx.Response, session_id: str) -> str:
    message: str = answer.json()["error"]["message"]
    return message.replace(session_id, "it")


def _raw(stack: Stack, sent: bytes) -> bytes:
    """Send bytes, and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", stack.server.port), 60) as connection:
        try:
            connection.sendall(sent)
            parts = iter(lambda: connection.recv(65536), b"")
            return b"".join(parts)
        except ConnectionError:
            return b""
