"""A camera that wants a password: a session says that its own is wrong, never what it is, and goes
on once it is right.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from maskstream.core.errors import SourceError
from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.live import LiveConfig
from maskstream.pipeline.runtime import Runtime
from maskstream.pipeline.store import SessionState, SessionStore
from tests.integration.serving import Served
from tests.integration.streams import (
    end_stream,
    has_objects,
    resumed_after_s,
    wait_for_fault,
)
from tests.pipeline.live.rtsp import RtspProxy, RtspServer
from tests.pipeline.ports import free_port
from tests.pipeline.store.servers import raw_client

USER, WRONG, RIGHT = "Horst", "Buche42", "Eiche/23 @"
WRONG_LOGIN, RIGHT_LOGIN = "Horst:Buche42@", "Horst:Eiche%2F23%20%40@"
SECRETS = (USER, "Buche", "Eiche")
PAUSE_S = LiveConfig().unauthorized_pause_s


def test_wrong_credentials_are_told_and_right_ones_work(
    runtime: Runtime,
    store: SessionStore,
    server: RtspServer,
    name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspProxy(server.port, credentials=(USER, RIGHT), digest=True) as proxy:
        url = server.url(port=proxy.port)
        wrong = Served.start(store, url.replace("://", f"://{WRONG_LOGIN}"), name, latency="live")
        wrong.do(AddConcept(text="red circle"))  # words need no frame
        fault = wait_for_fault(store, name, "unauthorized")
        assert f"rtsp://***@127.0.0.1:{proxy.port}" in fault
        assert "wrong or missing user name or password" in fault
        record = store.get_session(name)
        assert (record.state, record.counters.decoded) == (SessionState.RUNNING, 0)
        right = Served.start(
            store, url.replace("://", f"://{RIGHT_LOGIN}"), f"{name}-right", latency="live"
        )
        right.do(AddConcept(text="red circle"))
        right.read_until(has_objects)
        seen = [*answers(store, wrong, right), *stored_texts(store), *command_lines()]
        end_stream(right)
        # Now the camera gets the password that the first session has. Attempts are five seconds
        # apart, since cameras lock accounts that are tried too often.
        proxy.credentials = (USER, WRONG)
        assert resumed_after_s(wrong, time.time()) < PAUSE_S + 2
        wrong.read_until(has_objects)
        end_stream(wrong)
    written = capfd.readouterr()
    seen += [*answers(store, wrong, right), *stored_texts(store), *ray_logs()]
    seen += [caplog.text, written.out, written.err]
    assert any("rtsp://***@127.0.0.1" in text for text in seen)
    for secret in SECRETS:
        assert [text for text in seen if secret in text] == []


def test_a_session_that_gives_up_says_whether_it_was_the_password(
    runtime: Runtime, store: SessionStore, server: RtspServer, name: str
) -> None:
    with RtspProxy(server.port, credentials=(USER, RIGHT)) as proxy:
        for port, told in ((proxy.port, "unauthorized"), (free_port(), "refused")):
            url = server.url(port=port).replace("://", f"://{WRONG_LOGIN}")
            served = Served.start(store, url, f"{name}-{told}", max_reconnect_s=0.1)
            served.wait_for(SessionState.FAILED)
            followed = Client(store).handle_stream_request(
                {"type": "stream_results", "session_id": served.session_id}
            )
            with pytest.raises(SourceError, match=rf"rtsp://\*\*\*@127.* \({told}\)"):
                list(followed)


def answers(store: SessionStore, *sessions: Served) -> list[str]:
    """What clients are told of sessions and frames."""
    client = Client(store)
    told = [client.handle_request({"type": "list_sessions"})]
    for one in sessions:
        told.append(client.handle_request({"type": "get_session", "session_id": one.session_id}))
        told.append(client.handle_request({"type": "get_results", "session_id": one.session_id}))
    return [str(answer) for answer in told]


def stored_texts(store: SessionStore) -> Iterator[str]:
    """All that the server holds."""
    assert store.url is not None
    raw = raw_client(store.url)
    readers = {
        b"string": raw.get,
        b"hash": raw.hgetall,
        b"stream": raw.xrange,
        b"zset": lambda key: raw.zrange(key, 0, -1),
    }
    for key in raw.scan_iter():
        yield f"{key} {readers[raw.type(key)](key)}"


def command_lines() -> Iterator[str]:
    for process in psutil.Process().children(recursive=True):
        try:
            yield f"{process.cmdline()} {process.environ()}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def ray_logs() -> list[str]:
    """What all of Ray's processes have written, the workers among them."""
    folder = Path("/tmp/ray") / ray.get_runtime_context().get_session_name() / "logs"
    texts = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert texts
    return texts
