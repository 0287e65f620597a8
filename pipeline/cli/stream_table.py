"""The table that ``maskstream stream`` shows while it runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maskstream.pipeline.cli.figures import num_objects, number
from maskstream.pipeline.client.answers import Answer, session_answer
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import ResultEntry

_MAX_ROWS = 20
_ASK_EVERY_S = 1.0
_TELL_EVERY_S = 10.0


class StreamTable:
    """Shows the objects of the newest frame, and figures of the session.

    On a terminal this is a table that is drawn again in its place; elsewhere it is a line every ten
    seconds, without the objects.
    """

    def __init__(self, client: Client, session_id: str, console: Console | None = None) -> None:
        self._client = client
        self._session_id = session_id
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._about: Answer | None = None
        self._asked_s = 0.0
        self._told_s = time.monotonic()
        self._num_frames = 0

    def __enter__(self) -> Self:
        """Start the table."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the table from the terminal."""
        if self._live is not None:
            self._live.stop()

    def show(self, entry: ResultEntry) -> None:
        """Show a new result."""
        self._num_frames += 1
        now_s = time.monotonic()
        if self._about is None or now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            record = self._client.store.get_session(self._session_id)
            self._about = session_answer(record)
        if self._live is not None:
            self._live.update(Group(self._status(entry), _objects(entry.record)))
        elif now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            self._console.print(self._status(entry), soft_wrap=True)

    def _status(self, entry: ResultEntry) -> Text:
        about = self._about or {"frames": {"dropped": {}}, "stats": {}, "runs_by_itself": False}
        stats = about["stats"]
        parts = [
            f"frame {entry.frame_index}",
            num_objects(len(entry.record["objects"])),
            f"{number(stats.get('fps')) or '-'} fps",
            f"p95 {number((stats.get('latency_ms') or {}).get('p95')) or '-'} ms",
        ]
        dropped = sum(about["frames"]["dropped"].values())
        parts += [f"{dropped} dropped"] if dropped else []
        # In a session that waits for its client, the epoch only counts its runs.
        parts += [f"epoch {entry.epoch}"] if entry.epoch and about["runs_by_itself"] else []
        fault, state = stats.get("last_fault"), stats.get("source_state")
        parts += [f"{state}: {fault}"] if fault and state not in (None, "running") else []
        return Text(", ".join(parts))


def _objects(record: dict[str, Any]) -> Table:
    table = Table("id", "label", "state", "score", "tracker", "since", "x y w h")
    objects = record["objects"]
    for item in objects[:_MAX_ROWS]:
        cells = (
            str(item["obj_id"]),
            item["label"],
            item["state"],
            _digits(item["score"]),
            _digits(item["tracker_score"]),
            str(item["first_frame"]),
            " ".join(_digits(value) for value in item["box_xywh"]),
        )
        table.add_row(*(Text(cell) for cell in cells))
    if len(objects) > _MAX_ROWS:
        table.caption = f"and {len(objects) - _MAX_ROWS} more"
    return table


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
