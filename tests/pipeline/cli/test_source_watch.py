"""A source that gives no frames is told at once, with what is tried next."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from maskstream.pipeline.cli.source_watch import SourceWatch
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.live import LiveConfig, open_live
from maskstream.pipeline.store import Counters, NewSession, SessionState, open_store
from tests.pipeline.ports import HOST, free_port


class Screen(io.StringIO):
    """Tells when a line is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.has_line = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "\n" in text:
            self.has_line.set()
        return written


def test_each_new_fault_of_a_session_is_told_once() -> None:
    store = open_store("memory://")
    session_id = store.create_session(NewSession(source="rtsp://cam/x")).session_id
    store.transition(session_id, SessionState.RUNNING)
    screen = Screen()
    config = LiveConfig(max_reconnect_s=60.0)
    faults = {
        "refused: rtsp://[red]cam/x: nobody listens there": "trying again every 0.75 s",
        "unauthorized: rtsp://cam/x: wrong password": "trying again every 5 s",
    }
    with SourceWatch(Client(store), session_id, config, Console(file=screen, width=80)):
        for fault in faults:
            for state in ("waiting", "connecting", "waiting"):
                stats = {"source_state": state, "last_fault": fault}
                store.report(session_id, counters=Counters(), stats=stats)
            assert screen.has_line.wait(60)
            screen.has_line.clear()
        stats = {"source_state": "running", "last_fault": "what was, and no longer is"}
        store.report(session_id, counters=Counters(), stats=stats)
    lines = screen.getvalue().splitlines()
    limit = "given up after 60 s without a frame"
    assert lines == [f"{fault}; {plan} ({limit})" for fault, plan in faults.items()]


def test_the_fault_of_a_source_that_this_process_reads() -> None:
    store = open_store("memory://")
    screen = Screen()
    watch = SourceWatch(Client(store), "none", LiveConfig(), Console(file=screen))
    with open_live(f"rtsp://{HOST}:{free_port()}/x") as source:
        watch.source = source
        with watch:
            assert screen.has_line.wait(60)
    assert "nobody listens there" in screen.getvalue()
    assert "(Ctrl-C ends it)" in screen.getvalue()


def test_a_session_that_is_gone_ends_the_watch() -> None:
    screen = Screen()
    with SourceWatch(Client(open_store("memory://")), "gone", LiveConfig(), Console(file=screen)):
        pass
    assert screen.getvalue() == ""
