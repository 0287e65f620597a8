"""Builds records from the answers of Redis; ``keys`` says what is stored where.

Every function raises StoreError, which names key and entry, for data that maskstream has not
written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from maskstream.core.errors import StoreError
from maskstream.pipeline.store.codec import Place, build, from_json
from maskstream.pipeline.store.records import (
    Checkpoint,
    Claim,
    JournalEntry,
    Outcome,
    PushedFrame,
    ResultEntry,
    SessionRecord,
    SessionState,
)

T = TypeVar("T")

Row = Sequence[Any]  # of a stream: the id, and names and values by turns

_NUMBERS = (
    "epoch",
    "writer",
    "num_prompts",
    "journal_sequence",
    "settled_sequence",
    "result_sequence",
    "read_sequence",
)


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """A hash, of which Redis answers names and values by turns."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def session(flat: Sequence[bytes], expires_s: float, key: str) -> SessionRecord:
    """A session from its hash."""
    fields = pairs(flat)
    record = from_json(_field(fields, "record", key), Place(key, "record"))
    numbers: dict[str, Any] = {name: _number(fields, name, key) for name in _NUMBERS}
    last = (_number(fields, "result_epoch", key), _number(fields, "result_step", key))
    numbers["last_result"] = last if numbers["result_sequence"] else None
    for name in ("limits", "counters", "stats"):
        record[name] = from_json(_field(fields, name, key), Place(key, name))
    record |= numbers
    record |= {
        "state": state(_field(fields, "state", key), key),
        "reason": _text(_field(fields, "reason", key), Place(key, "reason")),
        "created_s": _number(fields, "created_ms", key) / 1000,
        "updated_s": _number(fields, "updated_ms", key) / 1000,
        "expires_s": expires_s,
    }
    return build(SessionRecord, record, Place(key, "record"))


def state(value: bytes, key: str) -> SessionState:
    """A state from its name."""
    place = Place(key, "state")
    try:
        return SessionState(_text(value, place))
    except ValueError:
        place.unreadable("there is no such state")


def source(record: bytes, key: str) -> str:
    """The source as it is stored, without credentials."""
    place = Place(key, "record")
    value = from_json(record, place).get("source")
    if not isinstance(value, str):
        place.unreadable("it has no source")
    return value


def work_item(flat: Sequence[bytes]) -> str | None:
    """The session's id in an entry of the queue of work; None: something else has written it."""
    try:
        return pairs(flat)[b"session"].decode()
    except (KeyError, UnicodeDecodeError):
        return None


def claim(holder: bytes, silent_ms: int, lease_ms: bytes, key: str) -> Claim | None:
    """A runtime's claim; None when there is none, or only its first half has been made."""
    if not holder or not lease_ms:
        return None
    values = {
        "holder": holder.decode("utf-8", "replace"),
        "silent_s": silent_ms / 1000,
        "lease_s": _number({b"lease_ms": lease_ms}, "lease_ms", key) / 1000,
    }
    return build(Claim, values, Place(key, "lease_ms"))


def journal_entries(
    rows: Sequence[Row], outcomes: Sequence[bytes], key: str, outcomes_key: str
) -> Iterator[JournalEntry]:
    """Entries of the journal, each with its outcome, if it has one."""
    for row, settled in zip(rows, outcomes, strict=True):
        sequence, place, content, accepted_ms = _open(row, key)
        content |= {"sequence": sequence, "accepted_s": accepted_ms / 1000}
        if settled:
            content["outcome"] = outcome(settled, outcomes_key, str(sequence), sequence)
        yield build(JournalEntry, content, place)


def results(rows: Sequence[Row], key: str) -> Iterator[tuple[int, ResultEntry]]:
    """Results with their sequences."""
    for row in rows:
        sequence, place, content, _ = _open(row, key)
        yield sequence, build(ResultEntry, content, place)


def frames(rows: Sequence[Row], key: str) -> Iterator[PushedFrame]:
    """Pushed frames."""
    for row in rows:
        name = row[0].decode("ascii", "replace")
        sequence = int(name.partition("-")[0])
        place = Place(key, name, resume_after=sequence)
        fields = pairs(row[1])
        if set(fields) != {b"blob", b"pts", b"ms"} or not fields[b"ms"].isdigit():
            place.unreadable("it has other fields")
        try:
            pts_s = float(fields[b"pts"]) if fields[b"pts"] else None
        except ValueError:
            place.unreadable("its time is no number")
        values = {"sequence": sequence, "blob": fields[b"blob"], "pts_s": pts_s}
        yield build(PushedFrame, values | {"pushed_s": int(fields[b"ms"]) / 1000}, place)


def readable(entries: Iterable[T]) -> tuple[T, ...]:
    """The entries before the first unreadable one.

    Raises:
        StoreError: the very first is unreadable.
    """
    good: list[T] = []
    try:
        for entry in entries:
            good.append(entry)
    except StoreError:
        if not good:
            raise
    return tuple(good)


def outcome(value: bytes, key: str, name: str, resume_after: int | None = None) -> Outcome:
    """An outcome from its JSON."""
    place = Place(key, name, resume_after)
    return build(Outcome, from_json(value, place), place)


def checkpoint(flat: Sequence[bytes], key: str) -> Checkpoint | None:
    """A checkpoint from its hash; None when that is empty."""
    fields = pairs(flat)
    if not fields:
        return None
    place = Place(key, "meta")
    meta = from_json(_field(fields, "meta", key), place)
    blob = _field(fields, "blob", key)
    if meta.pop("sha256", None) != hashlib.sha256(blob).hexdigest():
        Place(key, "blob").unreadable("its checksum does not agree")
    return build(Checkpoint, meta | {"blob": blob}, place)


def _open(row: Row, key: str) -> tuple[int, Place, dict[str, Any], int]:
    """Sequence, place, content and time of an entry of a stream."""
    name = row[0].decode("ascii", "replace")
    number, _, second = name.partition("-")
    sequence = int(number)
    place = Place(key, name, resume_after=sequence)
    fields = pairs(row[1])
    if second != "0" or set(fields) != {b"entry", b"ms"} or not fields[b"ms"].isdigit():
        place.unreadable("it has other fields")
    return sequence, place, from_json(fields[b"entry"], place), int(fields[b"ms"])


def _field(fields: dict[bytes, bytes], name: str, key: str) -> bytes:
    value = fields.get(name.encode())
    if value is None:
        Place(key, name).unreadable("it is missing")
    return value


def _number(fields: dict[bytes, bytes], name: str, key: str) -> int:
    place = Place(key, name)
    try:
        return int(_field(fields, name, key))
    except ValueError:
        place.unreadable("it is no number")


def _text(value: bytes, place: Place) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        place.unreadable("it is not UTF-8")
