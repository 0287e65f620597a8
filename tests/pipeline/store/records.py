"""Records that tests put into stores."""

from __future__ import annotations

from typing import Any

from maskstream.pipeline.store import (
    Checkpoint,
    NewEntry,
    NewSession,
    ResultEntry,
    SessionLimits,
)


def new_session(session_id: str = "s", **fields: Any) -> NewSession:
    limits = SessionLimits(**fields.pop("limits", {}))
    return NewSession(
        **{"source": "clip.mp4", "owner": "ann", "session_id": session_id, "limits": limits}
        | fields
    )


def concept(text: str = "ball", **fields: Any) -> NewEntry:
    return NewEntry(**{"kind": "add_concept", "payload": {"text": text}, "client_id": "c"} | fields)


def result(step: int, epoch: int = 0, **record: Any) -> ResultEntry:
    return ResultEntry(frame_index=step, epoch=epoch, step=step, wall_s=12.5, record=record)


def checkpoint(step: int, blob: bytes = b"\0\xff", **fields: int) -> Checkpoint:
    cursors = {"journal_sequence": 0, "result_sequence": 0} | fields
    return Checkpoint(blob=blob, step=step, **cursors)
