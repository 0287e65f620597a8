"""Servers that die, freeze, restart, refuse or speak TLS; and credentials, which are never seen."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from maskstream.core.errors import (
    ConfigError,
    InputError,
    MaskstreamError,
    SessionLimitError,
    SessionNotFoundError,
    StoreError,
)
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import (
    Outcome,
    ServiceLimits,
    SessionState,
    SessionStore,
    connection,
    open_store,
)
from maskstream.pipeline.store.sealing import KEY_VARIABLE, Sealer
from tests.machine import Stopwatch
from tests.pipeline.ports import HOST, free_port
from tests.pipeline.store.conftest import KEY
from tests.pipeline.store.records import checkpoint, concept, new_session, result
from tests.pipeline.store.servers import (
    RedisServer,
    eventually,
    program,
    raw_client,
    running,
)

PASSWORD = "tr0ub4dor"
SOURCE = "rtsp://admin:hunter22@camera:554/live?token=s3cr3t-t0ken"
SECRETS = ("hunter22", "s3cr3t-t0ken", PASSWORD)


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that keeps its data over restarts.

    With the default of one fsync a second, Redis may put off even the write while a disk is slow,
    and a kill loses what was answered already.
    """
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with running(RedisServer(tmp_path, *options)) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path)) as server:
        yield server


@pytest.fixture
def protected(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, "--requirepass", PASSWORD)) as server:
        yield server


def test_a_killed_server_comes_back_with_its_data(lasting: RedisServer) -> None:
    store = open_store(lasting.url)
    store.create_session(new_session())
    for index in range(5):
        store.append_entry("s", concept(str(index)))
        store.publish_result("s", result(index))
        store.save_checkpoint("s", checkpoint(index, result_sequence=index + 1))
        lasting.kill()
        lasting.start()
    assert len(store.read_journal("s").entries) == 5
    assert [entry.frame_index for entry in store.read_results("s").entries] == list(range(5))
    assert store.load_checkpoint("s") == checkpoint(4, result_sequence=5)
    assert store.publish_result("s", result(4)) is None
    assert store.claim_session("runtime", lease_s=30) == "s"
    store.close()


def test_commands_wait_for_a_server_that_is_away_for_a_moment(lasting: RedisServer) -> None:
    store = open_store(lasting.url)
    store.create_session(new_session())
    lasting.kill()
    code = "import sys, time, subprocess; time.sleep(0.3); subprocess.run(sys.argv[1:])"
    late = subprocess.Popen(
        [sys.executable, "-S", "-c", code, *lasting.command], stdout=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: answers(store))
        assert store.publish_result("s", result(0)) == 1
    finally:
        raw_client(lasting.url).shutdown(nosave=True)
        late.wait()
        store.close()


def answers(store: SessionStore) -> bool:
    try:
        store.ping()
    except StoreError:
        return False
    return True


def test_a_server_that_lost_its_data_says_so(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url)
        store.create_session(new_session())
        server.kill()
        server.start()
        for _ in range(2):
            with pytest.raises(StoreError, match="has lost its data, and session 's' with it"):
                store.publish_result("s", result(0))
        store.create_session(new_session("new"))
        with pytest.raises(SessionNotFoundError):
            store.get_session("never")
        assert store.get_session("new").state == "starting"
        store.close()


def test_limits_of_the_service_outlive_the_loss_of_all_data(redis_server: RedisServer) -> None:
    with open_store(redis_server.url) as runtime, open_store(redis_server.url) as client:
        runtime.set_service_limits(ServiceLimits(max_sessions=1, max_sessions_per_owner=1))
        raw_client(redis_server.url).flushall()
        assert runtime.claim_session("runtime", lease_s=30) is None
        client.create_session(new_session("a"))
        with pytest.raises(SessionLimitError, match="there are 1 open sessions"):
            client.create_session(new_session("b"))
        assert runtime.claim_session("runtime", lease_s=30) == "a"
        # What somebody else has set since then stays.
        client.set_service_limits(ServiceLimits(max_sessions=2, max_sessions_per_owner=2))
        assert runtime.claim_session("runtime", lease_s=30) is None
        client.create_session(new_session("b"))


def test_retries_are_bounded(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url, retry_for_s=0.5, timeout_s=1)
        store.create_session(new_session())
        server.kill()
        for call in (store.ping, lambda: store.get_session("s"), lambda: store.take_over("s")):
            with (
                Stopwatch() as watch,
                pytest.raises(StoreError, match="no Redis server can be reached at redis://"),
            ):
                call()
            assert watch.seconds < 5
        store.close()


def test_a_frozen_server_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url, retry_for_s=0.0, timeout_s=1)
        store.create_session(new_session())
        server.signal(signal.SIGSTOP)
        with (
            Stopwatch() as watch,
            pytest.raises(StoreError, match="does not answer in time"),
        ):
            store.get_session("s")
        assert watch.seconds < 5
        server.signal(signal.SIGCONT)
        assert store.get_session("s").state == "starting"
        store.close()


def test_nobody_there(tmp_path: Path) -> None:
    for url in (f"redis://u:{PASSWORD}@{HOST}:{free_port()}", f"unix://{tmp_path}/no.sock"):
        with (
            Stopwatch() as watch,
            pytest.raises(StoreError, match="no Redis server can be reached") as caught,
        ):
            open_store(url)
        assert watch.seconds < 5
        assert PASSWORD not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_server_that_is_too_old(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OLDEST_VERSION", (99, 0))
    with pytest.raises(StoreError, match=r"is Redis \d+\.\d+.*; 6\.2 or newer, or Valkey"):
        open_store(redis_url)


@pytest.mark.parametrize("user_info", ["", ":wrong@", "nobody:wrong@"])
def test_a_wrong_password(protected: RedisServer, user_info: str) -> None:
    url = f"redis://{user_info}{HOST}:{protected.port}/0"
    with pytest.raises(StoreError, match="is there but refuses the user name or password") as told:
        open_store(url)
    assert "wrong" not in repr(told.value).replace("wrong user", "")


def test_the_right_password(protected: RedisServer) -> None:
    store = open_store(f"redis://:{PASSWORD}@{HOST}:{protected.port}/0")
    store.create_session(new_session())
    assert PASSWORD not in repr(store)
    assert store.url is not None
    assert PASSWORD in store.url  # for those it is handed to
    store.close()


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "localhost:6379", "", f"redis://:{PASSWORD}/@host:1", "redis://h:port/0"],
)
def test_unusable_urls(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert PASSWORD not in str(caught.value)
    with pytest.raises(ConfigError, match="persistence_dir"):
        open_store("redis://localhost", persistence_dir="x")


def test_a_full_server(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url)
        store.create_session(new_session())
        raw_client(server.url).config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="out of memory"):
            store.publish_result("s", result(0))
        raw_client(server.url).config_set("maxmemory", 0)
        assert store.publish_result("s", result(0)) == 1
        store.close()


def test_a_full_server_still_lets_sessions_be_read_and_closed(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url)
        store.create_session(new_session(source="pushed://"))
        store.publish_result("s", result(0))
        store.push_frame("s", b"frame")
        store.create_session(new_session("expired", limits={"expire_after_s": 0.2}))
        assert eventually(lambda: raw_client(server.url).exists("maskstream:session:expired") == 0)
        raw_client(server.url).config_set("maxmemory", 1)
        refused: tuple[Callable[[], object], ...] = (
            lambda: store.create_session(new_session("new")),
            lambda: store.append_entry("s", concept("star")),
            lambda: store.push_frame("s", b"frame"),
            lambda: store.save_checkpoint("s", checkpoint(0)),
            lambda: store.take_over("s"),
        )
        for call in refused:
            with pytest.raises(StoreError, match="is out of memory; raise its maxmemory or close"):
                call()
        assert store.claim_session("runtime", lease_s=30) == "s"
        assert store.renew_claim("s", "runtime")
        assert store.read_results("s", 1).cursor == 1
        assert [frame.blob for frame in store.take_frames("s").frames] == [b"frame"]
        assert [one.session_id for one in store.list_sessions().sessions] == ["s"]
        assert store.transition("s", SessionState.FAILED, reason="no room").reason == "no room"
        assert store.delete_session("s")
        store.close()


def start_with(url: str, **options: Any) -> None:
    with Client(url, **options) as client:
        client.handle_request({"type": "start_session", "resource_path": "rtsp://camera/1"})


def test_what_redis_refuses_is_told_at_once_and_in_its_words(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        raw = raw_client(server.url)
        open_store(server.url).close()  # the data set has its name
        for change, undo, words in (
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "is out of memory; raise its"),
            (
                "CONFIG SET min-replicas-to-write 1",
                "CONFIG SET min-replicas-to-write 0",
                "refuses: NOREPLICAS",
            ),
            (f"REPLICAOF {HOST} 1", "REPLICAOF NO ONE", "refuses: You can't write against a read"),
        ):
            raw.execute_command(*change.split())
            with Stopwatch() as watch, pytest.raises(StoreError, match=words):
                start_with(server.url)
            assert watch.seconds < 5
            raw.execute_command(*undo.split())


def test_a_password_that_is_refused_later_is_not_tried_again(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        store = open_store(server.url)
        raw = raw_client(server.url)
        raw.config_set("requirepass", PASSWORD)
        raw.execute_command("AUTH", PASSWORD)
        raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with Stopwatch() as watch, pytest.raises(StoreError, match="refuses the user name or pass"):
            store.ping()
        assert watch.seconds < 5
        store.close()


def test_a_server_that_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, "--rdbcompression", "no")) as server:
        store = open_store(server.url)
        store.create_session(new_session())
        raw = raw_client(server.url)
        for number in range(100):
            raw.set(f"ballast-{number}", "x" * 1024)
        raw.save()
        server.kill()
        server.command += [
            *("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
        ]
        server.start()
        with pytest.raises(redis.exceptions.BusyLoadingError):
            raw_client(server.url).ping()
        with pytest.raises(StoreError, match="is still loading its data"):
            open_store(server.url, retry_for_s=0.0)
        assert store.get_session("s").state == "starting"
        late = open_store(server.url)
        assert late.get_session("s").state == "starting"
        for one in (store, late):
            one.close()


def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *(program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", f"subjectAltName=IP:{HOST}", "-days", "2"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    options = (*files, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no")
    with running(RedisServer(tmp_path, *options, tls=True)) as server:
        url = f"rediss://{HOST}:{server.port}/0"
        store = open_store(f"{url}?ssl_ca_certs={cert}")
        store.create_session(new_session())
        assert store.get_session("s").source == "clip.mp4"
        store.close()
        with pytest.raises(StoreError, match="certificate"):
            open_store(url)


def test_nothing_that_is_stored_said_or_logged_holds_credentials(
    protected: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://:{PASSWORD}@{HOST}:{protected.port}/0"
    store = open_store(url, secret_key=KEY)
    new = new_session(source=SOURCE, options={"backup": [SOURCE], "password": "hunter22"})
    with pytest.raises(ValueError, match="session_id") as refused:
        new_session(session_id=3, source=SOURCE * 100)
    said = [str(refused.value), repr(new), repr(store), repr(store.create_session(new))]
    entry = store.append_entry("s", concept(f"like {SOURCE}", payload={"url": SOURCE}))
    said.append(repr(entry))
    said.append(repr(store.settle_entry("s", 1, Outcome(rejection=f"cannot open {SOURCE}"))))
    store.publish_result("s", result(0))
    said.append(repr(store.transition("s", SessionState.FAILED, reason=f"lost {SOURCE}")))
    for key in (None, bytes(32)):
        other = open_store(url, secret_key=key)
        with pytest.raises(MaskstreamError) as caught:
            other.reveal_source("s")
        said += [str(caught.value), repr(caught.value.__context__)]
        other.close()
    record = store.get_session("s")
    assert record.has_credentials
    assert record.source == "rtsp://***@camera:554/live?token=***"
    assert record.reason == f"lost {record.source}"
    assert store.reveal_source("s") == SOURCE
    raw = raw_client(url)
    for name in raw.scan_iter("*"):
        said.append(repr(name) + repr(everything(raw, name)) + repr(raw.dump(name)))
    assert len(said) > 10
    text = " ".join(said) + caplog.text
    for secret in SECRETS:
        assert secret not in text
    store.close()


def everything(raw: redis.Redis, name: bytes) -> object:
    kind = raw.type(name).decode()
    read = {
        "hash": raw.hgetall,
        "string": raw.get,
        "stream": raw.xrange,
        "zset": lambda key: raw.zrange(key, 0, -1, withscores=True),
    }
    return read[kind](name)


def test_credentials_need_a_key(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(redis_url, namespace)
    with pytest.raises(ConfigError, match=f"set {KEY_VARIABLE}"):
        store.create_session(new_session(source=SOURCE))
    assert store.list_sessions().sessions == ()
    monkeypatch.setenv(KEY_VARIABLE, KEY.hex())
    with_key = open_store(redis_url, namespace)
    with_key.create_session(new_session(source=SOURCE))
    again = open_store(redis_url, namespace)
    assert again.reveal_source("s") == SOURCE
    with pytest.raises(ConfigError, match=f"set {KEY_VARIABLE}"):
        store.reveal_source("s")
    for value in ("xyz", "00"):
        monkeypatch.setenv(KEY_VARIABLE, value)
        with pytest.raises(InputError, match=r"secret key|hexadecimal"):
            open_store(redis_url, namespace)
    for one in (store, with_key, again):
        one.close()


def test_a_changed_or_moved_secret_does_not_open(redis_url: str, namespace: str) -> None:
    store = open_store(redis_url, namespace, secret_key=KEY)
    for name in ("a", "b"):
        store.create_session(new_session(name, source=SOURCE))
    raw = raw_client(redis_url)
    sealed = raw.get(f"{namespace}:secret:a")
    assert isinstance(sealed, bytes)
    changed = [sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", b"x", sealed[:40]]
    changed += [sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :] for n in (0, 40)]
    for value in changed[:1] + changed[2:]:
        raw.set(f"{namespace}:secret:a", value)
        with pytest.raises(StoreError, match="cannot be opened"):
            store.reveal_source("a")
    raw.set(f"{namespace}:secret:b", sealed)
    with pytest.raises(StoreError, match="credentials of b"):
        store.reveal_source("b")
    store.close()


def test_sealing_twice_gives_other_bytes() -> None:
    sealer = Sealer(KEY)
    for text in ("", "a", "ü" * 1000):
        one, two = sealer.seal(text, "s"), sealer.seal(text, "s")
        assert one != two
        assert sealer.unseal(one, "s") == sealer.unseal(two, "s") == text
