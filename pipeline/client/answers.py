"""The answers of the session API. They have the same form wherever the session runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskstream.core.errors import ConfigError, InputError, StoreError
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.store.records import ResultEntry, SessionListing, SessionRecord

Answer = dict[str, Any]


def entry_answer(entry: ResultEntry, threshold: float | None = None) -> Answer:
    """The answer for one frame in the log of results.

    Args:
        threshold: objects whose ``out_probs`` is lower are left out; None keeps all.

    Raises:
        StoreError: the entry holds no result.
    """
    result = result_of(entry.record)
    return {
        "frame_index": result.frame_index,
        "outputs": result.above(threshold).to_outputs(),
        "pts_s": result.pts_s,
        "wall_s": entry.wall_s,
        "epoch": entry.epoch,
        "gap_s": entry.gap_s,
    }


def result_of(record: dict[str, Any]) -> FrameResult:
    """The result in a stored record.

    Raises:
        StoreError: the record is no result.
    """
    try:
        return FrameResult.from_record(record)
    except InputError as error:
        raise StoreError(f"the store holds a result that cannot be read: {error}") from error


def prompt_answer(
    frame_index: int,
    result: FrameResult | None,
    *,
    prompt_ids: list[int],
    obj_id: int | None,
    took_effect_at: int,
    threshold: float | None = None,
    warnings: Sequence[str] = (),
) -> Answer:
    """The answer to ``add_prompt``.

    Args:
        frame_index: the frame that the request names.
        result: the result of that frame; None in a session that runs by itself, whose log of
            results will have it.
        prompt_ids: the concepts, one for each text; the answer's ``prompt_id`` is the first.
        took_effect_at: the first frame on which the prompt holds.
        warnings: what is doubtful about the mask of an object that was drawn, in words.
    """
    outputs = None if result is None else result.above(threshold).to_outputs()
    return {
        "frame_index": frame_index,
        "outputs": outputs,
        "prompt_id": prompt_ids[0] if prompt_ids else None,
        "prompt_ids": prompt_ids,
        "obj_id": obj_id,
        "took_effect_at": took_effect_at,
        "warnings": list(warnings),
    }


def listing_answer(listing: SessionListing) -> Answer:
    """The answer to ``list_sessions``. A session that cannot be read is named beside the others."""
    sessions, unreadable = [], list(listing.unreadable)
    for record in listing.sessions:
        try:
            sessions.append(session_answer(record))
        except ConfigError as error:
            unreadable.append(f"session {record.session_id}: {error}")
    return {"sessions": sessions, "unreadable": unreadable}


def session_answer(record: SessionRecord) -> Answer:
    """The answer to ``get_session``.

    Raises:
        ConfigError: the session's options cannot be read.
    """
    counters = record.counters
    runs_by_itself = None
    if set(record.options) <= set(SessionOptions.model_fields):
        runs_by_itself = SessionOptions.from_stored(record.options).runs_by_itself(record.source)
    return {
        "session_id": record.session_id,
        "owner": record.owner,
        "source": record.source,
        "state": str(record.state),
        "reason": record.reason,
        "runs_by_itself": runs_by_itself,
        "options": record.options,
        "created_s": record.created_s,
        "updated_s": record.updated_s,
        "expires_s": record.expires_s,
        "epoch": record.epoch,
        "frames": {
            "decoded": counters.decoded,
            "processed": counters.processed,
            "dropped": dict(counters.dropped),
            "in_flight": counters.in_flight,
        },
        "num_prompts": record.num_prompts,
        "cursor": record.result_sequence,
        "stats": record.stats,
    }
