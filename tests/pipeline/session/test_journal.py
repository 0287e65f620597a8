"""Entries in order, each when it is due."""

from __future__ import annotations

from typing import Any

import pytest

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import StoreError
from maskstream.pipeline.session.journal import JournalReader, Position
from maskstream.pipeline.store import JournalPage, MemoryStore, NewEntry, NewSession, Outcome


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.create_session(NewSession(source="clip.mp4", session_id="s"))
    return made


def append(store: MemoryStore, *places: Position | None) -> None:
    """Entries; those with a place are settled there."""
    for place in places:
        entry = store.append_entry("s", NewEntry(kind="reset"))
        if place is not None:
            outcome = Outcome(frame_index=0, detail={"at": list(place)})
            store.settle_entry("s", entry.sequence, outcome)


def due(reader: JournalReader, position: Position) -> list[int]:
    """The entries that are dealt with at a position."""
    found = []
    while (entry := reader.next_due(position)) is not None:
        reader.finish(entry)
        found.append(entry.sequence)
    return found


def test_settled_entries_come_where_they_took_effect(store: MemoryStore) -> None:
    append(store, (0, 3), (0, 3), (1, 0), None)
    reader = JournalReader(store, "s", 0, 0, replays=True, published=None)
    assert [due(reader, place) for place in ((0, 0), (0, 2), (0, 4), (0, 99), (1, 0))] == [
        *([], [], [1, 2], []),
        [3, 4],
    ]
    assert reader.done == 4


def test_new_entries_wait_for_what_has_been_told(store: MemoryStore) -> None:
    append(store, None)
    reader = JournalReader(store, "s", 0, 0, replays=True, published=(1, 5))
    assert [due(reader, place) for place in ((0, 9), (1, 5), (1, 6))] == [[], [], [1]]
    append(store, None)
    assert due(reader, (1, 6)) == [2]


def test_live_sources_apply_all_at_once(store: MemoryStore) -> None:
    append(store, (0, 3), (4, 1), None)
    reader = JournalReader(store, "s", 1, 0, replays=False, published=(9, 9))
    assert reader.next_due((0, 0)) is not None
    assert reader.is_replaying
    assert due(reader, (0, 0)) == [2, 3]


def test_an_entry_that_nobody_can_read_is_refused_and_passed_over(store: MemoryStore) -> None:
    append(store, None, None)
    read = store.read_journal

    def broken(session_id: str, after: int = 0, **options: Any) -> JournalPage:
        if after == 0:
            raise StoreError(
                "entry 1-0 of x:journal:s is not JSON",
                key="x:journal:s",
                entry="1-0",
                resume_after=1,
            )
        return read(session_id, after, **options)

    store.read_journal = broken  # type: ignore[method-assign, assignment]
    reader = JournalReader(store, "s", 0, 0, replays=True, published=None)
    assert due(reader, (0, 0)) == []
    assert due(reader, (0, 0)) == [2]
    refused, good = read("s").entries
    assert refused.outcome is not None
    assert "not JSON" in str(refused.outcome.rejection)
    told = error_from_text(refused.outcome.rejection or "")
    assert isinstance(told, StoreError)
    assert (told.key, told.entry) == ("x:journal:s", "1-0")
    assert good.outcome is None
