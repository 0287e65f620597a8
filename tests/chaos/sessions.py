"""Sessions that run by themselves, and that nothing may change the results of."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from maskstream.pipeline.api.commands import AddConcept
from maskstream.pipeline.api.frame_codec import encode_frame
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.store import ResultEntry, SessionLimits, SessionState, SessionStore
from maskstream.pipeline.video.model import VideoModel
from tests.integration.serving import (
    Served,
    assert_same,
    check_account,
    play_frames,
    play_prompts,
    settled_prompts,
)
from tests.pipeline import scene

NUM_FRAMES = 40


@dataclass
class Damage:
    """What faults have done to the results of sessions.

    Attributes:
        num_frames: how many results there should be.
        ids_changed: results whose objects have other ids than without faults.
        lost: frames without a result.
        doubled: results of frames that had one already, or that come out of order.
    """

    num_frames: int = 0
    ids_changed: int = 0
    lost: int = 0
    doubled: int = 0

    @classmethod
    def of(cls, found: list[FrameResult], expected: list[FrameResult]) -> Damage:
        wanted = {result.frame_index: result.obj_ids.tolist() for result in expected}
        indices = [result.frame_index for result in found]
        newest = [max(indices[:place], default=-1) for place in range(len(indices))]
        return cls(
            len(expected),
            sum(result.obj_ids.tolist() != wanted.get(result.frame_index) for result in found),
            len(wanted.keys() - set(indices)),
            sum(index <= before for index, before in zip(indices, newest, strict=True)),
        )

    @property
    def is_none(self) -> bool:
        return not (self.ids_changed or self.lost or self.doubled)

    def __add__(self, other: Damage) -> Damage:
        return Damage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Run:
    """One session, from its start to its end.

    Attributes:
        clip: the file that it plays; None: its frames are pushed.
        latency: ``delayed`` or ``live``.
        entries: what its log has given so far.
    """

    served: Served
    clip: Path | None
    latency: str
    entries: list[ResultEntry] = field(default_factory=list)

    @classmethod
    def start(cls, store: SessionStore, name: str, clip: Path | None, latency: str) -> Run:
        """It has its first prompt, and all of its frames."""
        options: dict[str, Any] = {"latency": latency}
        if clip is None:
            limits = SessionLimits(max_waiting_frames=NUM_FRAMES)
            served = Served.start(
                store, "pushed://", name, limits, queue_size=NUM_FRAMES, **options
            )
        else:
            served = Served.start(store, clip, name, autostart=True, **options)
        served.ask(AddConcept(text="red circle"))
        if clip is None:
            for index in range(NUM_FRAMES):
                store.push_frame(name, encode_frame(scene.image(index)), index / 10)
            store.finish_frames(name)
        return cls(served, clip, latency)

    @property
    def is_over(self) -> bool:
        return bool(self.entries) and self.entries[-1].kind == "end"

    def look(self) -> None:
        """Read what is new in the log."""
        store, name = self.served.store, self.served.session_id
        page = store.read_results(name, self.served.cursor)
        assert page.num_missed == 0
        self.served.cursor = page.cursor
        self.entries += page.entries

    def compare(self, model: VideoModel) -> Damage:
        """What the faults have done to the session's results: nothing, to the bit."""
        *frames, end = self.entries
        assert end.record["reason"] == "finished", end.record
        self.served.wait_for(SessionState.ENDED)
        found = [FrameResult.from_record(entry.record) for entry in frames]
        prompts = settled_prompts(self.served)
        if self.clip is None:
            expected = play_frames(model, scene.frames(NUM_FRAMES), prompts, latency=self.latency)
        else:
            expected = play_prompts(model, self.clip, prompts, latency=self.latency)
        damage = Damage.of(found, expected)
        if damage.is_none:
            assert_same(found, expected)
            self.served.entries = self.entries
            check_account(self.served)
        return damage
