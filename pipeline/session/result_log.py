"""What a session tells: results, objects, figures, checkpoints."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskstream.pipeline.api.commands import RunEnd
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.ledger import Ledger
from maskstream.pipeline.store import (
    Checkpoint,
    ObjectRecord,
    ResultEntry,
    SessionRecord,
    SessionStore,
)
from maskstream.tracker.video_tracker import NO_CONCEPT
from maskstream.workers.notes import FrameNote

_REPORT_EVERY_S = 1.0
_LATENCIES_KEPT = 512


class ResultLog:
    """Writes as the session's only writer; the store refuses what it has already.

    Frames wait here for their results: a note is kept from the time a frame is stepped over until
    what is said about it is published.

    Args:
        recounts: the ledger starts from a checkpoint, and frames after it are stepped over again.
    """

    def __init__(
        self,
        store: SessionStore,
        record: SessionRecord,
        writer: int,
        ledger: Ledger,
        *,
        recounts: bool,
    ) -> None:
        self._store = store
        self._session_id = record.session_id
        self._writer = writer
        self.ledger = ledger
        self._recounts = recounts
        self._pending: dict[int, tuple[FrameNote, int, int]] = {}
        self._known = {one.obj_id: one for one in store.list_objects(record.session_id)}
        self._told = dict(self._known)
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._published_s: deque[float] = deque(maxlen=64)
        self._reported_s = 0.0
        self.sequence = record.result_sequence
        self.num_objects = 0

    def expect(self, note: FrameNote, epoch: int, step: int) -> None:
        """A frame has been stepped over; its result will follow."""
        self._pending[note.index] = (note, epoch, step)

    def publish(self, result: FrameResult) -> None:
        """Write a frame's result."""
        note, epoch, step = self._pending.pop(result.frame_index)
        entry = ResultEntry(
            frame_index=result.frame_index,
            epoch=epoch,
            step=step,
            wall_s=note.wall_s,
            gap_s=note.gap_s,
            record=result.to_record(),
        )
        if self._write(entry, is_frame=True):
            now_s = time.time()
            self._latencies_ms.append(1000 * max(0.0, now_s - note.wall_s))
            self._published_s.append(now_s)
        self.num_objects = len(result)
        self._register(result)

    def end_run(self, epoch: int, step: int, frame_index: int, end: RunEnd) -> None:
        """Write the end of a run."""
        self._pending.clear()
        self._write(
            ResultEntry(
                frame_index=frame_index,
                epoch=epoch,
                step=step,
                kind="end",
                wall_s=time.time(),
                record=end.to_detail(),
            )
        )

    def _write(self, entry: ResultEntry, *, is_frame: bool = False) -> bool:
        """Append an entry; False when the store has it from an earlier time."""
        # A replay does what was done, so there its frames count whether written or not.
        if is_frame and self._recounts:
            self.ledger.note_processed()
        counters = self.ledger.counters()
        if is_frame and not self._recounts:
            counters = counters.model_copy(update={"processed": counters.processed + 1})
        sequence = self._store.publish_result(
            self._session_id, entry, counters=counters, writer=self._writer
        )
        if sequence is None:
            return False
        if is_frame and not self._recounts:
            self.ledger.note_processed()
        self.sequence = sequence
        return True

    # Objects

    def _register(self, result: FrameResult) -> None:
        """Note what was seen; write it when there is something new, and now and then."""
        for row, obj_id in enumerate(result.obj_ids.tolist()):
            self._known[obj_id] = ObjectRecord(
                obj_id=obj_id,
                prompt_id=max(NO_CONCEPT, int(result.prompt_ids[row])),
                label=result.labels[row],
                first_frame=int(result.first_frames[row]),
                last_frame=result.frame_index,
                state=result.states[row],  # type: ignore[arg-type]
            )

    def note_removed(self, alive: set[int]) -> None:
        """All objects that are not among these have been removed."""
        for obj_id, one in self._known.items():
            if obj_id not in alive and one.state != "removed":
                self._known[obj_id] = one.model_copy(update={"state": "removed"})

    def write_objects(self, *, all_of_them: bool) -> None:
        """Write the objects that are new or in another state, or all that have changed."""
        changed = [
            one
            for obj_id, one in self._known.items()
            if (told := self._told.get(obj_id)) is None
            or told.state != one.state
            or (all_of_them and told != one)
        ]
        if not changed:
            return
        self._store.put_objects(self._session_id, changed, writer=self._writer)
        self._told.update({one.obj_id: one for one in changed})
        for one in changed:
            if one.state == "removed":
                del self._known[one.obj_id], self._told[one.obj_id]

    # Figures

    @property
    def is_report_due(self) -> bool:
        return time.monotonic() - self._reported_s >= _REPORT_EVERY_S

    def report(self, more: Mapping[str, Any], epoch: int, *, now: bool = False) -> None:
        """Write counters and figures, once a second at most unless ``now``."""
        if not now and not self.is_report_due:
            return
        self._reported_s = time.monotonic()
        self.write_objects(all_of_them=True)
        self._store.report(
            self._session_id,
            counters=self.ledger.counters(),
            epoch=epoch,
            stats={**self.stats(), **more},
            writer=self._writer,
        )

    def stats(self) -> dict[str, Any]:
        """Rates and latencies of late."""
        times, latencies = self._published_s, self._latencies_ms
        elapsed_s = times[-1] - times[0] if len(times) > 1 else 0.0
        return {
            "fps": round((len(times) - 1) / elapsed_s, 2) if elapsed_s > 0 else 0.0,
            "latency_ms": {
                f"p{part}": round(float(np.percentile(latencies, part)), 2)
                for part in ((50, 95, 99) if latencies else ())
            },
            "num_objects": self.num_objects,
            "queue": self.ledger.counters().in_flight,
            "source_state": self.ledger.source_state,
            "last_fault": self.ledger.last_fault[:1000],
        }

    # Checkpoints

    def pending_state(self) -> list[list[Any]]:
        """The frames whose results are still to come, as JSON values."""
        return [
            [note.index, note.wall_s, note.gap_s, epoch, step]
            for note, epoch, step in self._pending.values()
        ]

    def load_pending_state(self, state: list[list[Any]]) -> None:
        """Undo ``pending_state``."""
        self._pending = {
            index: (FrameNote("frame", index=index, wall_s=wall_s, gap_s=gap_s), epoch, step)
            for index, wall_s, gap_s, epoch, step in state
        }

    def ledger_at_checkpoint(self) -> dict[str, Any]:
        """Counters of the frames up to a checkpoint, as JSON values: those that are farther on
        will be decoded again.
        """
        told, held = self.ledger.counters(), len(self._pending)
        return told.model_copy(
            update={"decoded": told.processed + told.num_dropped + held}
        ).model_dump()

    def checkpoint(self, blob: bytes, position: tuple[int, int], journal: int) -> Checkpoint:
        """A checkpoint of what has been told so far."""
        return Checkpoint(
            blob=blob,
            epoch=position[0],
            step=position[1],
            journal_sequence=journal,
            result_sequence=self.sequence,
        )
