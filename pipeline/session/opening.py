"""Takes a session over from the store and restores it from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskstream.core.errors import ConfigError
from maskstream.pipeline.api.options import PUSHED_SOURCE, SessionOptions
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.journal import JournalReader
from maskstream.pipeline.session.ledger import Ledger, counters_from
from maskstream.pipeline.session.open_feed import is_live
from maskstream.pipeline.session.ports import Decoder, Detection, SessionTools
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.pipeline.session.result_log import ResultLog
from maskstream.pipeline.session.state import CheckpointedState
from maskstream.pipeline.store import SessionRecord, SessionStore
from maskstream.pipeline.video.frame_numbers import FrameNumbers


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """How sessions are served.

    Attributes:
        depth: how many frames of a session may be in detection at once.
        checkpoint_every_s: least time between two checkpoints; None: none are saved.
        frame_wait_s: how long a prompt waits for a frame from a silent source.
        max_decoder_deaths: how often a session's decoder may die within ``death_window_s``.
        death_window_s: length of that window.
        max_unread: how many results of a propagation may be unread. At this number the run waits
            for its reader, so that the log drops no result unread.
        poll_every_s: least time between two reads of the journal while frames come.
        look_every_s: time between two reads of the session's state in the store.
        unresponsive_s: a worker that does not answer for this long is killed. Its work is done
            again, as after any death.

    All times are in seconds.
    """

    depth: int = 3
    checkpoint_every_s: float | None = 2.0
    frame_wait_s: float = 10.0
    max_decoder_deaths: int = 5
    death_window_s: float = 60.0
    max_unread: int = 256
    poll_every_s: float = 0.01
    look_every_s: float = 0.2
    unresponsive_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("depth", "max_unread"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")


@dataclass(slots=True)
class OpenSession:
    """A session that this process serves.

    Attributes:
        store: the session store.
        writer: this process's token to write to the session; the store refuses earlier ones.
        record: the session's record at the time of the take-over.
        options: the session's options.
        runs_by_itself: the session continues without its client.
        is_live: frames that were missed cannot be read again.
        is_pushed: a client pushes the frames.
        state: the part of the session that checkpoints contain.
        log: publishes results.
        journal: reads the client's commands.
        detection: detects in the session's frames.
        intake: reads the source.
        epoch: epoch of the newest result.
    """

    store: SessionStore
    writer: int
    record: SessionRecord
    options: SessionOptions
    runs_by_itself: bool
    is_live: bool
    is_pushed: bool
    state: CheckpointedState
    log: ResultLog
    journal: JournalReader
    detection: Detection
    intake: Intake
    epoch: int

    @property
    def session_id(self) -> str:
        return self.record.session_id

    @property
    def num_restarts(self) -> int:
        """How often the session was taken over after its first start."""
        return self.writer - 1


def open_session(
    store: SessionStore,
    session_id: str,
    tools: SessionTools,
    config: RunnerConfig,
    start_decoder: Callable[[], Decoder],
) -> OpenSession:
    """Take a session over and restore it from its checkpoint.

    Raises:
        SessionNotFoundError: there is no such session.
        ConfigError: its options cannot be used.
        CheckpointError, StoreError: its checkpoint cannot be read.
    """
    writer = store.take_over(session_id)
    record = store.get_session(session_id)
    options = SessionOptions.from_stored(record.options)
    by_itself, live = options.runs_by_itself(record.source), is_live(record.source, options)
    tracking = tools.new_tracking(options.latency)
    state = CheckpointedState(tracking, numbers=FrameNumbers() if by_itself else None)
    checkpoint = store.load_checkpoint(session_id)
    more = {} if checkpoint is None else state.load_bytes(checkpoint.blob)
    pending = more.get("pending", [])
    ledger = _open_ledger(record, more, len(pending), live)
    log = ResultLog(store, record, writer, ledger, recounts=not live)
    log.load_pending_state(pending)
    last = record.last_result
    epoch = record.epoch if last is None else max(record.epoch, last[0])
    return OpenSession(
        store=store,
        writer=writer,
        record=record,
        options=options,
        runs_by_itself=by_itself,
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
            published=last,
            poll_every_s=config.poll_every_s,
        ),
        detection=tools.new_detection(session_id, options.score_threshold),
        intake=Intake(
            start_decoder,
            RestartBudget(config.max_decoder_deaths, config.death_window_s),
            ledger,
            is_live=live,
            first_index=max(record.counters.decoded, 0 if last is None else last[1] + 1),
            first_epoch=epoch + (1 if live and writer > 1 else 0),
        ),
        epoch=epoch,
    )


def _open_ledger(
    record: SessionRecord, more: dict[str, Any], num_pending: int, live: bool
) -> Ledger:
    if not live:
        counters = counters_from(more.get("counters", {}))
        return Ledger(counters, num_held=num_pending, lossless=True)
    # Published results stay. Frames held back count as in flight only if they come after these.
    last = record.last_result or (-1, -1)
    held = sum(
        (one["stamp"]["epoch"], one["step"]) > tuple(last) for one in more.get("pending", [])
    )
    return Ledger(record.counters, num_held=held, lossless=False)
