"""How a client reads the log of results of a session."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import SessionError, StoreError
from maskstream.pipeline.api.faults import stored_faults
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.api.outcomes import Detail, PropagateDetail, RunEnd
from maskstream.pipeline.api.requests import GetResults
from maskstream.pipeline.client.answers import Answer, entry_answer
from maskstream.pipeline.client.holder_watch import HolderWatch
from maskstream.pipeline.store import (
    ResultEntry,
    ResultPage,
    SessionRecord,
    SessionState,
    SessionStore,
)

D = TypeVar("D", bound=Detail)
Entries = Generator[tuple[ResultEntry, int], None, None]

# The store is asked to wait so long for new entries; then it is asked again.
_WAIT_S = 1.0
_RESULTS_AT_ONCE = 16
_MOST_FAULTS = 5


def run_entries(
    store: SessionStore,
    session_id: str,
    run: PropagateDetail,
    cancel: Callable[[], None],
    is_stopped: Callable[[], bool] = lambda: False,
    takeover_timeout_s: float | None = None,
) -> Entries:
    """The frames of one propagation, each with the cursor that reads on after it.

    Args:
        run: where in the log the frames are.
        cancel: stops the run; it is called when the reader stops on purpose before the end of the
            run: it closes this iterator, is interrupted with Ctrl-C, or ``is_stopped`` says so. A
            reader that fails leaves the run as it is: others may read it, or it may itself, later.
        is_stopped: ends the reading; it is called about once a second while nothing comes.
        takeover_timeout_s: see :class:`HolderWatch`.

    Raises:
        MaskstreamError: the run has failed; this is the runtime's error.
        SessionError: the session has ended, no runtime serves it any more, or the log has dropped
            results before they were read.
    """
    first, last = run.epochs
    try:
        watch = HolderWatch(store, session_id, takeover_timeout_s)
        entries = _entries(store, session_id, run.cursor, is_stopped, watch, may_miss=False)
        for entry, cursor in entries:
            if not first <= entry.epoch <= last:
                continue
            if entry.kind == "frame":
                yield entry, cursor
                continue
            end = _end_of(entry)
            if end.reason == "failed":
                raise error_from_text(end.message)
            if end.reason != "finished" or last in (entry.epoch, end.epoch):
                return
        if is_stopped():
            cancel()
            return
        raise has_ended(store.get_session(session_id), "while it propagated")
    except (GeneratorExit, KeyboardInterrupt):
        cancel()
        raise


def log_entries(
    store: SessionStore,
    record: SessionRecord,
    cursor: int,
    is_stopped: Callable[[], bool] = lambda: False,
    takeover_timeout_s: float | None = None,
) -> Entries:
    """The frames of the log from a cursor on, until the session is over; see ``run_entries``.

    Raises:
        MaskstreamError: the session has failed; this is the runtime's error.
        SessionError: no runtime serves the session any more.
    """
    session_id = record.session_id
    watch = HolderWatch(store, session_id, takeover_timeout_s)
    by_itself = SessionOptions.from_stored(record.options).runs_by_itself(record.source)
    for entry, behind in _entries(store, session_id, cursor, is_stopped, watch, may_miss=True):
        if entry.kind == "frame":
            yield entry, behind
        elif by_itself:
            end = _end_of(entry)
            if end.reason == "failed":
                raise error_from_text(end.message)
            return
    record = store.get_session(session_id)
    if record.state == SessionState.FAILED:
        raise error_from_text(record.reason)


def page_answer(store: SessionStore, request: GetResults) -> Answer:
    """The answer to ``get_results``: one page of the log."""
    page = store.read_results(
        request.session_id,
        request.cursor,
        count=request.max_results,
        timeout_s=request.timeout_s,
    )
    return {
        "results": [
            entry_answer(entry, request.output_prob_thresh) | {"cursor": cursor}
            for entry, cursor in _numbered(page)
            if entry.kind == "frame"
        ],
        "cursor": page.cursor,
        "num_missed": page.num_missed,
        "is_end": page.is_end,
    }


def checked_detail(model: type[D], values: Mapping[str, Any], what: str) -> D:
    """What a runtime has written, as a record.

    Args:
        what: what the error calls it.

    Raises:
        StoreError: the values are not what this project writes.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        faults = "; ".join(stored_faults(error, _MOST_FAULTS))
        raise StoreError(f"the store holds {what} that cannot be read: {faults}") from None


def has_ended(record: SessionRecord, when: str) -> SessionError:
    """The error of a reader that waits for more from a session that is over."""
    reason = f": {record.reason}" if record.reason else ""
    return SessionError(f"session {record.session_id} is {record.state} {when}{reason}")


def _entries(
    store: SessionStore,
    session_id: str,
    cursor: int,
    is_stopped: Callable[[], bool],
    watch: HolderWatch,
    *,
    may_miss: bool,
) -> Iterator[tuple[ResultEntry, int]]:
    """The entries after ``cursor`` until the session is over, each with the cursor after it."""
    while not is_stopped():
        page = store.read_results(session_id, cursor, count=_RESULTS_AT_ONCE, timeout_s=_WAIT_S)
        if page.num_missed and not may_miss:
            raise SessionError(
                f"{page.num_missed} results of session {session_id} were dropped from its log "
                "before they were read; read faster, or propagate over fewer frames at once"
            )
        yield from _numbered(page)
        if page.is_end:
            return
        if page.cursor > cursor:
            watch.note_news()
        else:
            watch.check()
        cursor = page.cursor


def _numbered(page: ResultPage) -> Iterator[tuple[ResultEntry, int]]:
    """The entries of a page, each with the cursor after it."""
    return zip(
        page.entries, range(page.cursor - len(page.entries) + 1, page.cursor + 1), strict=True
    )


def _end_of(entry: ResultEntry) -> RunEnd:
    return checked_detail(RunEnd, entry.record, "an end of a run")
