"""The checks and the errors that the Redis store and the memory store have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from maskstream.core.errors import InputError, SessionError, SessionLimitError
from maskstream.core.redaction import redact, redact_json
from maskstream.pipeline.store.codec import to_json
from maskstream.pipeline.store.records import MAX_STATS_BYTES, Outcome, SessionState

MAX_REASON = 2000
MAX_TAKEN_FRAMES = 256

TAKE_PROMPTS = tuple(state for state in SessionState if state.takes_prompts)
OVER = tuple(state for state in SessionState if state.is_over)

_SESSION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def is_session_id(session_id: str) -> bool:
    """Whether a text has the form of a session's id."""
    return _SESSION_ID.fullmatch(session_id) is not None


def exists(session_id: str) -> SessionError:
    """There is a session with this id already."""
    return SessionError(
        f"there is a session {session_id!r} already; close it first, or choose another id"
    )


def too_many_sessions(owner: str, name: str, most: int) -> SessionLimitError:
    """A limit of the service is reached."""
    whose = "there are" if name == "max_sessions" else f"{owner!r} has"
    return SessionLimitError(
        f"{whose} {most} open sessions, as many as are allowed ({name}); close one"
    )


def limit(session_id: str, name: str, most: float) -> SessionLimitError:
    """A limit of the session would be exceeded."""
    return SessionLimitError(
        f"session {session_id} would exceed its {name}, which is {most:g}; nothing was changed"
    )


def wrong_state(
    session_id: str, state: str, wish: str, allowed: Iterable[SessionState]
) -> SessionError:
    """The session's state does not allow it."""
    states = " or ".join(allowed)
    hint = f"; it can while it is {states}" if states else ""
    return SessionError(f"session {session_id} is {state} and cannot {wish}{hint}")


def superseded(session_id: str) -> SessionError:
    """Another worker has become the session's writer."""
    return SessionError(
        f"session {session_id} has been taken over by another worker; this one must stop"
    )


def no_entry(session_id: str, sequence: int) -> SessionError:
    """The journal has no such entry."""
    return SessionError(f"the journal of session {session_id} has no entry {sequence} to settle")


def not_settled_yet(session_id: str, sequence: int, before: str) -> SessionError:
    """An earlier entry must be settled first."""
    return SessionError(
        f"entry {sequence} of session {session_id} cannot be settled before entry "
        f"{before.partition('-')[0]}"
    )


def cursor_ahead(session_id: str, log: str, cursor: int, newest: int) -> InputError:
    """The cursor lies behind the end of the log; it may belong to another one."""
    return InputError(
        f"cursor {cursor} is ahead of the {log} of session {session_id}, which ends at {newest}; "
        "0 reads from the start"
    )


def checkpoint_ahead(session_id: str, name: str, claimed: int, actual: int) -> SessionError:
    """The checkpoint includes more than the store knows to be done."""
    return SessionError(
        f"the checkpoint of session {session_id} has {name} {claimed}, but only {actual} is done"
    )


def not_pushed(session_id: str) -> SessionError:
    """The session has a source of its own."""
    return SessionError(
        f"session {session_id} takes no pushed frames: it has a source of its own; start one with "
        "the source pushed://"
    )


def no_more_frames(session_id: str) -> SessionError:
    """The client has ended the pushed frames."""
    return SessionError(
        f"session {session_id} takes no more frames: the last one has been pushed already"
    )


def check_range(cursor: int, count: int) -> None:
    """Check the part of a log that is asked for.

    Raises:
        InputError: the cursor or the count is out of range.
    """
    if cursor < 0 or cursor >= 2**53 or not 1 <= count <= 10_000:
        raise InputError(
            f"cursor {cursor} and count {count}: a cursor is 0 or what the last page gave, and a "
            "page has 1 to 10,000 entries"
        )


def check_time(pts_s: float | None) -> float | None:
    """Check a presentation time, in seconds.

    Raises:
        InputError: it is not finite.
    """
    if pts_s is not None and not math.isfinite(pts_s):
        raise InputError(f"pts_s is {pts_s}; expected seconds as a finite number, or None")
    return pts_s


def frames_to_keep(after: int, done: int | None) -> int:
    """The sequence up to which pushed frames are deleted."""
    return after if done is None else max(min(done, after), after - MAX_TAKEN_FRAMES)


def starting_states(
    to: SessionState, expected: Collection[SessionState] | None
) -> tuple[SessionState, ...]:
    """The states that a transition may start from: those of ``expected`` that ``to`` can follow."""
    return tuple(state for state in to.predecessors if expected is None or state in expected)


def short_reason(reason: str) -> str:
    """The reason of a change of state as it is stored: without credentials, and cut."""
    return redact(reason).encode("utf-8", "replace").decode()[:MAX_REASON]


def stats_text(stats: Mapping[str, Any]) -> bytes:
    """Stats as they are stored: as JSON, without credentials.

    Raises:
        InputError: they are not JSON, or too large.
    """
    text = to_json(redact_json(dict(stats)), "stats")
    if len(text) > MAX_STATS_BYTES:
        raise InputError(
            f"the stats take {len(text):,} bytes; at most {MAX_STATS_BYTES:,} are stored"
        )
    return text


def clean_outcome(outcome: Outcome) -> Outcome:
    """An outcome without credentials."""
    return Outcome(
        frame_index=outcome.frame_index,
        rejection=None if outcome.rejection is None else redact(outcome.rejection),
        detail=redact_json(outcome.detail),
    )
