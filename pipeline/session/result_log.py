"""Publishes a session's results, ends of runs, and statistics, and makes its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.outcomes import RunEnd
from maskstream.pipeline.api.rates import Rates
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.session.ledger import Ledger
from maskstream.pipeline.store import Checkpoint, ResultEntry, SessionRecord, SessionStore

_REPORT_EVERY_S = 1.0
_FAULT_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class _Expected:
    """A frame that was tracked and has no result yet.

    Attributes:
        stamp: stamp of the frame, with the epoch of its result.
        step: see ``Run.step_of``.
    """

    stamp: FrameStamp
    step: int


class ResultLog:
    """Writes a session's results to the store. It is the session's only writer.

    Promises: the result of each frame is published once. A result that the store has already, from
    before a crash, is skipped.

    Args:
        store: the session store.
        record: the session's record.
        writer: this process's token to write to the session.
        ledger: counts the frames.
        recounts: the ledger starts at a checkpoint, and the frames after it are tracked again.

    Attributes:
        sequence: sequence of the newest entry in the log of results.
        num_objects: number of objects in the newest result.
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
        self._expected: dict[int, _Expected] = {}
        self._rates = Rates()
        self._reported_s = 0.0
        self.sequence = record.result_sequence
        self.num_objects = 0

    def expect(self, stamp: FrameStamp, step: int) -> None:
        """Register a frame that is being tracked, before its result."""
        self._expected[stamp.index] = _Expected(stamp, step)

    def publish(self, result: FrameResult) -> None:
        """Write a frame's result."""
        expected = self._expected.pop(result.frame_index)
        stamp = expected.stamp
        entry = ResultEntry(
            frame_index=result.frame_index,
            epoch=stamp.epoch,
            step=expected.step,
            wall_s=stamp.wall_s,
            gap_s=stamp.gap_s,
            record=result.to_record(),
        )
        if self._write_frame(entry):
            self._rates.note(stamp.wall_s)
        self.num_objects = len(result)

    def end_run(self, epoch: int, step: int, frame_index: int, end: RunEnd) -> None:
        """Write the end of a run."""
        self._expected.clear()
        self._append(
            ResultEntry(
                frame_index=frame_index,
                epoch=epoch,
                step=step,
                kind="end",
                wall_s=time.time(),
                record=end.to_detail(),
            ),
            num_more_processed=0,
        )

    def _write_frame(self, entry: ResultEntry) -> bool:
        """Append a frame's entry; False if the store has it already."""
        if self._recounts:
            # The frame was counted again as decoded, whether its result is new or not.
            self.ledger.note_processed()
            return self._append(entry, num_more_processed=0)
        is_new = self._append(entry, num_more_processed=1)
        if is_new:
            self.ledger.note_processed()
        return is_new

    def _append(self, entry: ResultEntry, *, num_more_processed: int) -> bool:
        counters = self.ledger.counters()
        counters = counters.model_copy(
            update={"processed": counters.processed + num_more_processed}
        )
        sequence = self._store.publish_result(
            self._session_id, entry, counters=counters, writer=self._writer
        )
        if sequence is None:
            return False
        self.sequence = sequence
        return True

    # Statistics

    @property
    def is_report_due(self) -> bool:
        """Whether a second has passed since the last report."""
        return time.monotonic() - self._reported_s >= _REPORT_EVERY_S

    def report(self, more: Mapping[str, Any], epoch: int, *, now: bool = False) -> None:
        """Write counters and statistics to the store, at most once a second unless ``now``."""
        if not now and not self.is_report_due:
            return
        self._reported_s = time.monotonic()
        self._store.report(
            self._session_id,
            counters=self.ledger.counters(),
            epoch=epoch,
            stats={**self.stats(), **more},
            writer=self._writer,
        )

    def stats(self) -> dict[str, Any]:
        """Rates and latencies of the newest results, and the state of the source."""
        return {
            **self._rates.to_stats(),
            "num_objects": self.num_objects,
            "queue": self.ledger.counters().in_flight,
            "source_state": self.ledger.source_state,
            "last_fault": self.ledger.last_fault[:_FAULT_CHARACTERS],
        }

    # Checkpoints

    def pending_state(self) -> list[dict[str, Any]]:
        """The frames that have no result yet, as JSON values."""
        return [
            {"stamp": one.stamp.to_state(), "step": one.step} for one in self._expected.values()
        ]

    def load_pending_state(self, state: list[dict[str, Any]]) -> None:
        """Restore what ``pending_state`` returned."""
        expected = [_Expected(FrameStamp.from_state(one["stamp"]), one["step"]) for one in state]
        self._expected = {one.stamp.index: one for one in expected}

    def ledger_at_checkpoint(self) -> dict[str, Any]:
        """The frame counts for a checkpoint, as JSON values.

        Frames after the checkpoint will be decoded again, so they do not count as decoded.
        """
        counters, held = self.ledger.counters(), len(self._expected)
        return counters.model_copy(
            update={"decoded": counters.processed + counters.num_dropped + held}
        ).model_dump()

    def checkpoint(self, blob: bytes, position: tuple[int, int], journal: int) -> Checkpoint:
        """Make a checkpoint that goes with the results published so far.

        Args:
            blob: the session's state.
            position: (epoch, step) of the first frame that the state does not contain.
            journal: sequence of the newest journal entry that the state contains.
        """
        return Checkpoint(
            blob=blob,
            epoch=position[0],
            step=position[1],
            journal_sequence=journal,
            result_sequence=self.sequence,
        )
