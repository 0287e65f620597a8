"""What ``maskstream stream`` shows while it runs."""

from __future__ import annotations

import io

from rich.console import Console

from maskstream.pipeline.cli.stream_table import StreamTable
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import (
    Counters,
    NewSession,
    ResultEntry,
    SessionState,
    SessionStore,
    open_store,
)
from tests.pipeline.frame_results import make_result


def running(store: SessionStore) -> str:
    session_id = store.create_session(NewSession(source="rtsp://cam/x")).session_id
    store.transition(session_id, SessionState.RUNNING)
    store.report(
        session_id,
        counters=Counters(decoded=9, processed=5, dropped={"queue_full": 3}),
        stats={
            "fps": 4.25,
            "latency_ms": {"p50": 1.0, "p95": 33.0, "p99": 40.0},
            "source_state": "waiting",
            "last_fault": "the camera has gone",
        },
    )
    return session_id


def entry(num_objects: int) -> ResultEntry:
    result = make_result(7, range(num_objects), labels=["[red]circle[/]"] * num_objects)
    return ResultEntry(frame_index=7, step=7, epoch=2, wall_s=1.0, record=result.to_record())


def test_a_table_on_a_terminal() -> None:
    store = open_store("memory://")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=60)
    with StreamTable(Client(store), running(store), console) as table:
        table.show(entry(25))
    shown = screen.getvalue()
    for words in (
        "frame 7, 25 objects, 4.2 fps, p95 33.0 ms, 3 dropped, epoch 2",
        "waiting: the camera has gone",
        "[red]circle[/]",  # as it is, not as markup
        "and 5 more",
        "0.90",
    ):
        assert words in shown


def test_a_line_now_and_then_elsewhere() -> None:
    store = open_store("memory://")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=False, width=200)
    with StreamTable(Client(store), running(store), console) as table:
        table.show(entry(1))
        assert screen.getvalue() == ""
        table._told_s -= 100
        table.show(entry(1))
        table.show(entry(1))
    assert screen.getvalue().count("frame 7, 1 object, ") == 1
