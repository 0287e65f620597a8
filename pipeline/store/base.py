"""The interface of all session stores, and what each method promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from maskstream.pipeline.store.pictures import PictureRing
from maskstream.pipeline.store.records import (
    Checkpoint,
    Claim,
    Counters,
    JournalEntry,
    JournalPage,
    NewEntry,
    NewSession,
    Outcome,
    PushedPage,
    PushReceipt,
    ResultEntry,
    ResultPage,
    ServiceLimits,
    SessionListing,
    SessionRecord,
    SessionState,
)


class SessionStore(Protocol):
    """Keeps sessions with their prompts, results and checkpoints, for many processes.

    Every method makes all of its changes or none. It may be called from any thread, and may be
    repeated when a failure has left open whether it was done. ``timeout_s`` is how long a method
    waits for something new; 0 looks once.

    One worker writes for a session. When it takes the session over, it calls ``take_over`` and
    passes the token that it gets as ``writer``: from then on the store refuses what an earlier
    worker writes, however late that comes. Without ``writer`` nothing is checked.

    Every method that names a session raises SessionNotFoundError when there is no such session,
    StoreError when the store cannot be reached or an entry cannot be read, and SessionLimitError
    when something exceeds a limit of the session. Then nothing has changed.
    """

    @property
    def pictures(self) -> PictureRing:
        """Pictures of sessions for those who watch."""

    @property
    def url(self) -> str | None:
        """The URL for other processes, its password included; None: they cannot open this store."""

    def ping(self) -> None:
        """Check that the store answers.

        Raises:
            StoreError: it does not. The message says whether the password is wrong or no server
                is there.
        """

    def close(self) -> None:
        """Close the store, and end its embedded server, if it has one. May be called twice."""

    def __enter__(self) -> Self:
        """Returns the store itself."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""

    def set_service_limits(self, limits: ServiceLimits) -> None:
        """Set how many sessions may be open at once, for all that are started from now on.

        When they get lost, as by FLUSHALL, a later ``claim_session`` sets them again.
        """

    # Sessions

    def create_session(self, new: NewSession) -> SessionRecord:
        """Create a session in the state ``starting``; runtimes can claim it at once.

        Raises:
            SessionError: there is a session with this id.
            SessionLimitError: as many sessions are open as are allowed, for this owner or in all.
            ConfigError: the source has credentials, and there is no key to encrypt them with.
        """

    def get_session(self, session_id: str) -> SessionRecord:
        """The session as it is now. This counts as use, which puts off its expiry."""

    def list_sessions(self, owner: str | None = None) -> SessionListing:
        """All sessions, or those of one owner, the oldest first. This does not count as use."""

    def delete_session(self, session_id: str) -> bool:
        """Delete a session and all its data, whatever its state; False when there was none."""

    def reveal_source(self, session_id: str) -> str:
        """The source with its credentials: for the decoder, never for a log.

        Raises:
            ConfigError: this process has no key.
            StoreError: this process has another key than the one they were encrypted with.
        """

    def transition(
        self,
        session_id: str,
        to: SessionState,
        *,
        expected: Collection[SessionState] | None = None,
        reason: str = "",
        writer: int | None = None,
    ) -> SessionRecord:
        """Change the state of a session.

        Args:
            to: the new state.
            expected: the session must be in one of these states now; None: in any that ``to`` can
                follow.
            reason: why; stored without credentials, and cut to 2,000 characters.

        Raises:
            SessionError: the session is in another state, which the message names; or the writer
                was superseded.
        """

    def report(
        self,
        session_id: str,
        *,
        counters: Counters | None = None,
        epoch: int | None = None,
        stats: Mapping[str, Any] | None = None,
        writer: int | None = None,
    ) -> None:
        """Store the counters and the stats, and raise the epoch; a lower epoch is ignored.

        Raises:
            InputError: the stats are not JSON, or more than ``MAX_STATS_BYTES``.
        """

    def wait_for_state(
        self, session_id: str, states: Collection[SessionState], timeout_s: float
    ) -> SessionRecord:
        """Wait for one of these states. Returns the session, which is in another one when the time
        was up first.
        """

    # Which runtime serves a session, which worker writes for it

    def claim_session(self, holder: str, lease_s: float, timeout_s: float = 0.0) -> str | None:
        """Claim a session that no runtime serves, or whose claim has run out.

        A session can be claimed until it has ended, failed or been deleted.

        Args:
            holder: the name of the runtime, best made of host and process.
            lease_s: a claim that has not been renewed for so long has run out. The same for all
                runtimes.

        Returns:
            The session's id; None when there was none in time.
        """

    def renew_claim(self, session_id: str, holder: str) -> bool:
        """Renew a claim: a runtime's heartbeat. False: another holds the session, or it is over."""

    def release_claim(self, session_id: str, holder: str) -> bool:
        """Give a claim up: it has run out from now on, and any runtime can claim the session at
        once. False: another holds the session, or it is over.
        """

    def get_claim(self, session_id: str) -> Claim | None:
        """The claim on a session; None when no runtime has claimed it yet, or it is over.

        A claim that has run out stays until another runtime claims the session.
        """

    def take_over(self, session_id: str) -> int:
        """Become the only writer of a session. Returns a token, larger than all before."""

    # The journal

    def append_entry(self, session_id: str, new: NewEntry) -> JournalEntry:
        """Append a prompt or command. Entries take effect in the order of their sequences.

        An entry with the ``request_id`` of an earlier one is the same request, repeated: it is not
        appended, and the earlier entry is returned.

        Raises:
            SessionError: the session is draining or over.
            SessionLimitError: the entry is too large, or there are too many.
        """

    def read_journal(
        self, session_id: str, after: int = 0, *, count: int = 100, timeout_s: float = 0.0
    ) -> JournalPage:
        """Entries with sequences above ``after``, with their outcomes.

        A worker begins after the ``journal_sequence`` of its checkpoint. Entries behind it that
        are settled have been applied before: the outcome names the frame on which to apply them
        again.

        Raises:
            StoreError: the first of them cannot be read; give the error's ``resume_after`` as
                ``after`` to read the ones behind it.
        """

    def settle_entry(
        self,
        session_id: str,
        sequence: int,
        outcome: Outcome,
        *,
        checkpoint: Checkpoint | None = None,
        writer: int | None = None,
    ) -> Outcome:
        """Store the outcome of an entry. Entries are settled in their order, each once.

        Args:
            checkpoint: a state that includes what the entry did; stored together with the outcome,
                but not when the entry was settled before.

        Returns:
            The outcome that is stored: the earlier one when the entry was settled before.

        Raises:
            SessionError: there is no such entry, one before it is not settled yet, or the writer
                was superseded.
        """

    def wait_settled(self, session_id: str, sequence: int, timeout_s: float) -> JournalEntry:
        """Wait until an entry is settled. Its outcome is None when the time was up first.

        Raises:
            SessionError: there is no such entry.
        """

    # The log of results

    def publish_result(
        self,
        session_id: str,
        entry: ResultEntry,
        *,
        counters: Counters | None = None,
        writer: int | None = None,
    ) -> int | None:
        """Append a result, unless the log holds one of the same or a later (epoch, step).

        Args:
            counters: stored together with the result, but not when it is not appended.

        Returns:
            The result's sequence; None when it was not appended.

        Raises:
            SessionError: the session is over, or the writer was superseded.
        """

    def read_results(
        self, session_id: str, cursor: int = 0, *, count: int = 64, timeout_s: float = 0.0
    ) -> ResultPage:
        """Results behind ``cursor``; 0 stands before the first.

        Raises:
            InputError: the cursor is ahead of the log.
            StoreError: the next entry cannot be read; the error's ``resume_after`` is the cursor
                behind it.
        """

    # Frames that a client pushes

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        """Hand in the next frame of a session with the source ``pushed://``.

        When more than ``max_waiting_frames`` wait to be taken, the oldest of them is dropped.

        Args:
            blob: the picture, as ``maskstream.pipeline.api.frame_codec`` encodes it.
            pts_s: its presentation time in seconds, where it has one.

        Raises:
            SessionError: the session has another source, is draining or over, or
                ``finish_frames`` was called.
            SessionLimitError: the blob is too large.
        """

    def finish_frames(self, session_id: str) -> None:
        """End the pushed frames. Those that wait can still be taken. May be called twice.

        Raises:
            SessionError: the session has another source, is draining or over.
        """

    def take_frames(
        self,
        session_id: str,
        after: int = 0,
        *,
        done: int | None = None,
        count: int = 8,
        timeout_s: float = 0.0,
    ) -> PushedPage:
        """Take the pushed frames with sequences above ``after``.

        Args:
            done: delete the frames up to this sequence. Those between it and ``after`` can be
                taken again, the newest 256 of them. None: delete all up to ``after``.

        Raises:
            SessionError: the session has another source.
            InputError: ``after`` is ahead of the frames.
            StoreError: the first of them cannot be read; give the error's ``resume_after`` as
                ``after`` to take the ones behind it.
        """

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        """Replace the checkpoint; False when the stored one has a later (epoch, step).

        Raises:
            SessionError: it includes entries that are not settled or results that are not
                published; or the writer was superseded.
        """

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        """The newest checkpoint; None when there is none.

        Raises:
            StoreError: it is damaged.
        """
