"""Sources as decode workers run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.frame_codec import encode_frame
from pipeline.live.config import LiveConfig
from pipeline.options import SessionOptions
from pipeline.runtime.feeds import FileFeed, PushedFeed, StoreAddress, is_live
from pipeline.sources import open_source
from pipeline.store import MemoryStore, NewSession, SessionLimits
from tests.pipeline import scene
from workers.notes import FrameNote


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write_scene(tmp_path_factory.mktemp("feeds") / "clip.mp4", 12)


def file_feed(clip: Path, **options: object) -> FileFeed:
    return FileFeed(open_source(clip), SessionOptions.model_validate(options), LiveConfig())


def play(feed: FileFeed | PushedFeed) -> list[FrameNote]:
    """Frames up to and including what is said in place of one more."""
    notes = []
    while (note := feed.next(0.0)[0]).kind in ("frame", "none"):
        notes += [note] if note.kind == "frame" else []
    return [*notes, note]


def test_a_file_from_any_frame_both_ways(clip: Path) -> None:
    feed = file_feed(clip)
    assert feed.next(0.0)[0].kind == "none"
    for start, reverse, expected in ((9, False, [9, 10, 11]), (2, True, [2, 1, 0])):
        feed.begin(start, reverse=reverse)
        *frames, end = play(feed)
        assert [note.index for note in frames] == expected
        assert (end.kind, end.decoded) == ("end", 3)
    feed.begin(0, reverse=False)
    assert feed.read(7)[0].index == 7
    assert feed.next(0.0)[0].index == 0
    feed.begin(50, reverse=False)
    [failed] = play(feed)
    assert failed.message.startswith("InputError: ")
    feed.close()


@pytest.mark.parametrize("options", [{"every_nth": 3}, {"target_fps": 9.0}])
def test_sampling_is_the_same_from_the_middle_on(clip: Path, options: dict[str, object]) -> None:
    feed = file_feed(clip, autostart=True, **options)
    feed.begin(0, reverse=False)
    *whole, end = play(feed)
    assert 2 < len(whole) < 12
    assert end.decoded == 12
    assert end.dropped == {"sampling": 12 - len(whole)}
    feed.begin(whole[0].index + 1, reverse=False)
    *rest, _ = play(feed)
    assert [note.index for note in rest] == [note.index for note in whole[1:]]
    feed.close()


def test_pushed_frames_can_be_taken_again_until_they_are_done() -> None:
    store = MemoryStore()
    limits = SessionLimits(max_waiting_frames=6)
    store.create_session(NewSession(source="pushed://", session_id="s", limits=limits))
    for index in range(8):  # two more than fit
        store.push_frame("s", encode_frame(scene.image(index)), index / 10)
    store.push_frame("s", b"no picture", None)
    store.finish_frames("s")
    options = SessionOptions()
    feed = PushedFeed(store, "s", options)
    *frames, end = play(feed)
    assert [note.index for note in frames] == [3, 4, 5, 6, 7]
    assert frames[0].num_missed == 3
    assert (end.kind, end.decoded, end.dropped) == ("end", 9, {"queue_full": 3, "corrupt": 1})
    feed.begin(5, reverse=False)
    *again, end = play(feed)
    assert [note.index for note in again] == [5, 6, 7]
    assert end.decoded == 4


def test_which_sources_are_live() -> None:
    looped = SessionOptions(autostart=True, loop=True)
    assert is_live("rtsp://host/x", SessionOptions())
    assert is_live("/dev/video0", SessionOptions())
    assert is_live("clip.mp4", looped)
    assert not is_live("clip.mp4", SessionOptions())
    assert not is_live("pushed://", SessionOptions())


def test_a_stores_address_hides_its_secrets() -> None:
    address = StoreAddress("redis://ann:secret@host", "ns", b"key" * 12)
    assert "secret" not in repr(address)
    assert "key" not in repr(address)
