"""A session taken over: everything that it is served with, as the store has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskstream.pipeline.api.options import PUSHED_SOURCE, SessionOptions
from maskstream.pipeline.runtime.feeds import is_live
from maskstream.pipeline.session.detection import Detector
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.journal import JournalReader
from maskstream.pipeline.session.ledger import Ledger, counters_from
from maskstream.pipeline.session.result_log import ResultLog
from maskstream.pipeline.session.state import SessionState
from maskstream.pipeline.store import SessionRecord, SessionStore
from maskstream.pipeline.video.frame_numbers import FrameNumbers
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules
from maskstream.workers.faults import RestartBudget
from maskstream.workers.track import Tools

_POLL_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """How sessions are served.

    Attributes:
        depth: frames of a session that may be in detection at once.
        checkpoint_every_s: least time between checkpoints.
        frame_wait_s: how long a prompt waits for a frame of a source that is silent.
        max_decoder_deaths: of one session within ``death_window_s``.
        death_window_s: see above.
        unresponsive_s: a worker, of whatever kind, that does not answer for so long is ended, and
            what it did is done again as after its death.
    """

    depth: int = 3
    checkpoint_every_s: float = 2.0
    frame_wait_s: float = 10.0
    max_decoder_deaths: int = 5
    death_window_s: float = 60.0
    unresponsive_s: float = 30.0


@dataclass(slots=True)
class OpenSession:
    """A session and what belongs to it.

    Attributes:
        writer: token with which the store lets this process write, and no earlier one.
        record: as it was when it was taken over.
        is_free: it runs by itself.
        is_live: frames that were missed can never be had again.
        is_pushed: a client pushes its frames.
        state: what survives in checkpoints.
        epoch: of the newest result.
    """

    store: SessionStore
    writer: int
    record: SessionRecord
    options: SessionOptions
    is_free: bool
    is_live: bool
    is_pushed: bool
    state: SessionState
    log: ResultLog
    journal: JournalReader
    detector: Detector
    intake: Intake
    epoch: int

    @property
    def session_id(self) -> str:
        return self.record.session_id

    @property
    def num_restarts(self) -> int:
        """How often another worker has taken it over."""
        return self.writer - 1


def open_session(
    store: SessionStore,
    session_id: str,
    tools: Tools,
    config: RunnerConfig,
    start_decoder: Callable[[], Any],
) -> OpenSession:
    """Take a session over and restore it from its checkpoint.

    Raises:
        SessionNotFoundError: there is none.
        ConfigError: its options cannot be used.
        CheckpointError, StoreError: its checkpoint cannot be read.
    """
    writer = store.take_over(session_id)
    record = store.get_session(session_id)
    options = SessionOptions.from_stored(record.options)
    is_free, live = options.runs_by_itself(record.source), is_live(record.source, options)
    tracking = SessionTracking(tools.tracker, tools.config, latency=options.latency)
    state = SessionState(tracking, numbers=FrameNumbers() if is_free else None)
    checkpoint = store.load_checkpoint(session_id)
    more = {} if checkpoint is None else state.load_bytes(checkpoint.blob)
    ledger = _open_ledger(record, more, live)
    log = ResultLog(store, record, writer, ledger, recounts=not live)
    log.load_pending_state(more.get("pending", []))
    last = record.last_result
    epoch = record.epoch if last is None else max(record.epoch, last[0])
    return OpenSession(
        store=store,
        writer=writer,
        record=record,
        options=options,
        is_free=is_free,
        is_live=live,
        is_pushed=record.source == PUSHED_SOURCE,
        state=state,
        log=log,
        journal=JournalReader(
            store,
            session_id,
            0 if checkpoint is None else checkpoint.journal_sequence,
            writer,
            replays=not live,
            told=last,
            poll_every_s=_POLL_EVERY_S,
        ),
        detector=Detector(
            tools.detecting, session_id, detection_rules(tools.config, options.score_threshold)
        ),
        intake=Intake(
            start_decoder,
            RestartBudget(config.max_decoder_deaths, config.death_window_s),
            ledger,
            config.unresponsive_s,
            is_live=live,
            first_index=max(record.counters.decoded, 0 if last is None else last[1] + 1),
            first_epoch=epoch + (1 if live and writer > 1 else 0),
        ),
        epoch=epoch,
    )


def _open_ledger(record: SessionRecord, more: dict[str, Any], live: bool) -> Ledger:
    pending = more.get("pending", [])
    if not live:
        counters = counters_from(more.get("counters", {}))
        return Ledger(counters, num_held=len(pending), lossless=True)
    # What was told stands. Of the frames held back, those behind it are still to come.
    last = record.last_result or (-1, -1)
    held = sum((epoch, step) > last for _, _, _, epoch, step in pending)
    return Ledger(record.counters, num_held=held, lossless=False)
