"""Entries in order, each when it is due."""

from __future__ import annotations

import pytest

from pipeline.runtime.journal import JournalReader, Position
from pipeline.store import MemoryStore, NewEntry, NewSession, Outcome


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
    reader = JournalReader(store, "s", 0, 0, replays=True, told=None)
    assert [due(reader, place) for place in ((0, 0), (0, 2), (0, 4), (0, 99), (1, 0))] == [
        *([], [], [1, 2], []),
        [3, 4],
    ]
    assert reader.done == 4


def test_new_entries_wait_for_what_has_been_told(store: MemoryStore) -> None:
    append(store, None)
    reader = JournalReader(store, "s", 0, 0, replays=True, told=(1, 5))
    assert [due(reader, place) for place in ((0, 9), (1, 5), (1, 6))] == [[], [], [1]]
    append(store, None)
    assert due(reader, (1, 6)) == [2]


def test_live_sources_apply_all_at_once(store: MemoryStore) -> None:
    append(store, (0, 3), (4, 1), None)
    reader = JournalReader(store, "s", 1, 0, replays=False, told=(9, 9))
    assert reader.next_due((0, 0)) is not None
    assert reader.is_replaying
    assert due(reader, (0, 0)) == [2, 3]
