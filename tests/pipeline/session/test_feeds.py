"""Sources as sessions read them."""

from __future__ import annotations

import functools
import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.runtime.feeding import open_worker_feed
from maskstream.pipeline.session.feed import Feed, FrameNote
from maskstream.pipeline.session.file_feed import FileFeed
from maskstream.pipeline.session.live_feed import NO_WAY_BACK
from maskstream.pipeline.session.open_feed import SourcePolicy, is_live
from maskstream.pipeline.session.pushed_feed import PushedFeed
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import MemoryStore, NewSession, SessionLimits, open_store
from maskstream.pipeline.store.address import StoreAddress
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from tests.pipeline import scene
from tests.pipeline.ports import HOST, free_port


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
        assert [note.stamp.index for note in frames] == expected
        assert (end.kind, end.decoded) == ("end", 3)
    feed.begin(0, reverse=False)
    assert feed.read(7)[0].stamp.index == 7
    assert feed.next(0.0)[0].stamp.index == 0
    feed.begin(50, reverse=False)
    [failed] = play(feed)
    assert failed.message.startswith("InputError: ")
    feed.close()


@pytest.mark.parametrize("options", [{}, {"target_fps": 5.0, "autostart": True}])
def test_a_feed_that_goes_on_behind_the_last_frame_is_at_its_end(
    clip: Path, options: dict[str, object]
) -> None:
    """The one before it died when it had given that frame, before it said that there is no more."""
    num_frames = open_source(clip).count_frames()
    feed = file_feed(clip, **options)
    for _ in range(2):
        feed.begin(num_frames, reverse=False)
        assert [note.kind for note in play(feed)] == ["end"]
    feed.begin(0, reverse=False)
    assert play(feed)[0].stamp.index == 0
    feed.close()


@pytest.mark.parametrize("behind", [0, 5])
def test_a_session_cannot_begin_behind_the_last_frame(clip: Path, behind: int) -> None:
    start = open_source(clip).count_frames() + behind
    feed = file_feed(clip, start_frame=start, autostart=True)
    feed.begin(start, reverse=False)
    note, _ = feed.next(0.0)
    assert note.kind == "failed"
    assert f"there is no frame {start}" in note.message
    feed.close()


@pytest.fixture
def address() -> Iterator[StoreAddress]:
    store = open_store()
    assert store.url is not None
    yield StoreAddress(store.url, DEFAULT_NAMESPACE, None)
    store.close()


def opened(address: StoreAddress, source: str, policy: SourcePolicy, **options: object) -> Feed:
    """As a decode worker opens the source of a session."""
    store = address.open()
    stored = SessionOptions.model_validate(options).to_stored()
    session = store.create_session(NewSession(source=source, options=stored))
    spec = {"store": address, "session_id": session.session_id, "policy": policy}
    store.close()
    return open_worker_feed(spec)


def first_of(feed: Feed) -> FrameNote:
    """A feed's first word that is not silence."""
    feed.begin(0, reverse=False)
    deadline_s = time.monotonic() + 60
    while (note := feed.next(0.5)[0]).kind == "none":
        assert time.monotonic() < deadline_s
    feed.close()
    return note


def test_every_kind_of_source(clip: Path, tmp_path: Path, address: StoreAddress) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        Image.fromarray(scene.image(number)).save(pictures / f"{number}.png")
    handler = functools.partial(SilentHandler, directory=str(clip.parent))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        sources = [
            str(clip),
            f"file://{clip}",
            str(pictures),
            str(pictures / "1.png"),
            f"http://{HOST}:{server.server_port}/clip.mp4",
        ]
        notes = [first_of(opened(address, source, SourcePolicy())) for source in sources]
        server.shutdown()
        thread.join(10)
    for note in notes:
        assert (note.kind, note.stamp.index, note.stamp.size) == (
            "frame",
            0,
            (scene.HEIGHT, scene.WIDTH),
        ), note
        assert time.time() - 120 < note.stamp.wall_s <= time.time()
    looped = opened(address, str(clip), SourcePolicy(), autostart=True, loop=True)
    assert looped.read(0)[0].message == NO_WAY_BACK
    assert first_of(looped).kind == "frame"


def test_sources_that_fail_say_how(clip: Path, tmp_path: Path, address: StoreAddress) -> None:
    """The reason is the first thing that the feed tells, whatever kind it is of."""
    gone = f"rtsp://{HOST}:{free_port()}/x"
    roots = SourcePolicy(allowed_roots=(str(tmp_path),))
    for source, policy, options, reason in (
        (str(clip), roots, {}, "InputError: .*allowed folders"),
        (gone, SourcePolicy(allowed_schemes=("file",)), {}, "InputError: .*'rtsp' is not allowed"),
        (gone, SourcePolicy(), {"max_reconnect_s": 0.1}, r"SourceError: .*\(refused\)"),
        ("/dev/video97", SourcePolicy(), {"max_reconnect_s": 0.1}, "SourceError: /dev/video97: "),
        (str(tmp_path / "none.mp4"), SourcePolicy(), {}, "SourceError: .*does not exist"),
        (str(tmp_path), SourcePolicy(), {}, "SourceError: .*"),  # a folder without pictures
    ):
        note = first_of(opened(address, source, policy, **options))
        assert note.kind == "failed", source
        assert re.match(reason, note.message), note.message


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.mark.parametrize("options", [{"every_nth": 3}, {"target_fps": 9.0}])
def test_sampling_is_the_same_from_the_middle_on(clip: Path, options: dict[str, object]) -> None:
    feed = file_feed(clip, autostart=True, **options)
    feed.begin(0, reverse=False)
    *whole, end = play(feed)
    assert 2 < len(whole) < 12
    assert end.decoded == 12
    assert end.dropped == {"sampling": 12 - len(whole)}
    feed.begin(whole[0].stamp.index + 1, reverse=False)
    *rest, _ = play(feed)
    assert [note.stamp.index for note in rest] == [note.stamp.index for note in whole[1:]]
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
    assert [note.stamp.index for note in frames] == [3, 4, 5, 6, 7]
    assert (end.kind, end.decoded, end.dropped) == ("end", 9, {"queue_full": 3, "corrupt": 1})
    feed.begin(5, reverse=False)
    *again, end = play(feed)
    assert [note.stamp.index for note in again] == [5, 6, 7]
    assert end.decoded == 4


def test_pushed_frames_that_are_too_old_or_not_wanted() -> None:
    store = MemoryStore()
    store.create_session(NewSession(source="pushed://", session_id="s"))
    for index in range(4):
        store.push_frame("s", encode_frame(scene.image(index)), index / 10)
    store.finish_frames("s")
    for options, kept, dropped in (
        ({"stale_after_s": 1e-6}, [], {"stale": 4}),
        ({"stale_after_s": 600.0}, [0, 1, 2, 3], {}),
        ({"every_nth": 3}, [0, 3], {"sampling": 2}),
        ({"target_fps": 5.0}, [0, 2], {"sampling": 2}),
    ):
        *frames, end = play(PushedFeed(store, "s", SessionOptions.model_validate(options)))
        assert [note.stamp.index for note in frames] == kept
        assert (end.kind, end.decoded, end.dropped) == ("end", 4, dropped)


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


def test_the_region_of_interest_is_cut_out_of_pushed_frames() -> None:
    store = MemoryStore()
    store.create_session(NewSession(source="pushed://", session_id="s"))
    store.push_frame("s", encode_frame(scene.image(3)))
    store.push_frame("s", encode_frame(np.full((6, 10), 9, np.uint8)))  # grey, another size
    store.finish_frames("s")
    feed = PushedFeed(store, "s", SessionOptions(region=[0.0, 0.0, 1.0, 0.5]))
    note, image = feed.next(0.0)
    assert note.stamp.size == image.shape[:2] == (scene.HEIGHT // 2, scene.WIDTH)
    assert np.array_equal(image, scene.image(3)[: scene.HEIGHT // 2])
    assert not image.flags.writeable
    assert feed.next(0.0)[1].shape == (3, 10, 3)


def test_a_reader_of_pushed_frames_that_waits_gets_the_next_one() -> None:
    store = MemoryStore()
    store.create_session(NewSession(source="pushed://", session_id="s"))
    feed = PushedFeed(store, "s", SessionOptions())
    found: list[FrameNote] = []
    reader = threading.Thread(target=lambda: found.append(feed.next(60.0)[0]))
    reader.start()
    store.push_frame("s", encode_frame(scene.image(0)))
    reader.join(60)
    assert [note.kind for note in found] == ["frame"]
