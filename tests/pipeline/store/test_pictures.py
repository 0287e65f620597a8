"""Pictures for those who watch: a bounded ring, in every kind of store."""

from __future__ import annotations

import time

import pytest

from maskstream.pipeline.store import SessionStore
from maskstream.pipeline.store.pictures import MAX_PICTURES, WATCH_S, picture_key


def test_a_picture_is_found_by_its_key(store: SessionStore) -> None:
    store.pictures.put("a", 5, b"five")
    store.pictures.put("a", 7, b"seven")
    assert store.pictures.get("a", 5) == b"five"
    assert store.pictures.get("a", 7) == b"seven"
    assert store.pictures.get("a", 6) is None
    assert store.pictures.get("b", 5) is None


def test_the_oldest_are_dropped(store: SessionStore) -> None:
    for key in range(1, MAX_PICTURES + 3):
        store.pictures.put("a", key, b"%d" % key)
    kept = [key for key in range(MAX_PICTURES + 3) if store.pictures.get("a", key) is not None]
    assert kept == list(range(3, MAX_PICTURES + 3))


@pytest.mark.parametrize("late", [3, 4])
def test_a_clock_that_goes_back_adds_nothing(store: SessionStore, late: int) -> None:
    store.pictures.put("a", 4, b"four")
    store.pictures.put("a", late, b"late")
    assert store.pictures.get("a", 4) == b"four"
    assert store.pictures.get("a", 3) is None


def test_somebody_watches_for_a_while(store: SessionStore) -> None:
    assert not store.pictures.is_watched("a")
    began = time.monotonic()
    store.pictures.watch("a")
    assert store.pictures.is_watched("a")
    assert not store.pictures.is_watched("b")
    while store.pictures.is_watched("a"):
        time.sleep(0.1)
    assert time.monotonic() - began > WATCH_S - 1


def test_a_key_is_exact_in_json() -> None:
    assert picture_key(1_764_550_000.123456) == 1_764_550_000_123_456
