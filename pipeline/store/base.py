"""What a session store does, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

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
    """Sessions, their prompts, results and checkpoints, shared by many processes.

    Every method changes everything it says or nothing, may be called from any thread, and may be
    repeated after a failure that left it unknown whether it was done. ``timeout_s`` is how long
    to wait for something new; 0 looks once.

    A worker that takes a session over calls ``take_over`` and gives the token it gets as
    ``writer``; from then on whatever an earlier worker writes is refused, however late it wakes
    up. Without ``writer`` this is not checked.

    All methods that name a session raise SessionNotFoundError when there is none, StoreError when
    the store cannot be reached or an entry cannot be read, and SessionLimitError when something
    is larger than the session may hold; nothing has changed then.
    """

    @property
    def url(self) -> str | None:
        """Where other processes open this store, its password included; None: they cannot."""

    def ping(self) -> None:
        """Return when the store answers.

        Raises:
            StoreError: it does not; the message tells a wrong password from nobody there.
        """

    def close(self) -> None:
        """Let go of the store. An embedded server ends with this. Closing twice is fine."""

    def set_service_limits(self, limits: ServiceLimits) -> None:
        """Say how many sessions may be open, for whoever starts one from now on."""

    # Sessions

    def create_session(self, new: NewSession) -> SessionRecord:
        """Open a session, ``starting``, and offer it to the runtimes.

        Raises:
            SessionError: there is a session of this id.
            SessionLimitError: its owner has, or all have, as many open sessions as are allowed.
            ConfigError: the source has credentials and there is no key to seal them with.
        """

    def get_session(self, session_id: str) -> SessionRecord:
        """The session as it is now. Counts as use."""

    def list_sessions(self, owner: str | None = None) -> SessionListing:
        """All sessions, or those of one owner, by the time they were created."""

    def delete_session(self, session_id: str) -> bool:
        """Forget all of a session, whatever its state; False when there was none."""

    def reveal_source(self, session_id: str) -> str:
        """The source with its credentials. For the decoder; never to be logged.

        Raises:
            ConfigError: this process has no key.
            StoreError: this process has another key.
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
        """Change the state, if it is one of ``expected`` now (None: any that ``to`` can follow).

        Args:
            reason: is stored without credentials, and cut to 2,000 characters.

        Raises:
            SessionError: it is in another state; the message says which. Or the writer was
                superseded.
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
        """Set the counters and the stats; raise the epoch, which never goes down.

        Raises:
            InputError: the stats are not JSON, or more than ``MAX_STATS_BYTES``.
        """

    def wait_for_state(
        self, session_id: str, states: Collection[SessionState], timeout_s: float
    ) -> SessionRecord:
        """Wait until the state is one of these or the time is up; look at what is returned."""

    # Which runtime serves a session, which worker writes for it

    def claim_session(self, holder: str, lease_s: float, timeout_s: float = 0.0) -> str | None:
        """Take a session that no runtime serves, or whose runtime has not renewed its claim.

        A session can be claimed until it has ended, failed or been deleted.

        Args:
            holder: names the runtime, best by host and process.
            lease_s: take also what has not been renewed for so long; the same for all runtimes.

        Returns:
            its id; None when there was none in time.
        """

    def renew_claim(self, session_id: str, holder: str) -> bool:
        """Say that the runtime is alive; False when another holds the session, or it is over."""

    def get_claim(self, session_id: str) -> Claim | None:
        """Who serves the session; None when no runtime has taken it yet, or it is over.

        A claim that has run out stands until another runtime takes the session.
        """

    def take_over(self, session_id: str) -> int:
        """Become the session's only writer; the token is larger than any before."""

    # The journal

    def append_entry(self, session_id: str, new: NewEntry) -> JournalEntry:
        """Accept a prompt or command. Entries take effect in the order of their sequences.

        Raises:
            SessionError: the session is draining or over.
            SessionLimitError: too large, or too many.
        """

    def read_journal(
        self, session_id: str, after: int = 0, *, count: int = 100, timeout_s: float = 0.0
    ) -> JournalPage:
        """Entries with sequences above ``after``, with their outcomes.

        The tracker's position is ``SessionRecord.settled_sequence``, or that of the checkpoint it
        starts from: then settled entries say on which frame to apply them again.

        Raises:
            StoreError: the first of them cannot be read; ``resume_after`` reads on behind it.
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
        """Say what became of an entry; in order, and once.

        Args:
            checkpoint: with what the entry did, saved together with the outcome, if that is new.

        Returns:
            the outcome that is stored: another than given when it was settled before.

        Raises:
            SessionError: there is no such entry, one before it is not settled yet, or the writer
                was superseded.
        """

    def wait_settled(self, session_id: str, sequence: int, timeout_s: float) -> JournalEntry:
        """Wait for an entry's outcome; it is None when the time was up first.

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
        """Append a result unless one as far or farther on is there.

        Args:
            counters: set together with it, if it is new.

        Returns:
            its sequence; None when (epoch, step) does not lie behind the newest one.

        Raises:
            SessionError: the session is over, or the writer was superseded.
        """

    def read_results(
        self, session_id: str, cursor: int = 0, *, count: int = 64, timeout_s: float = 0.0
    ) -> ResultPage:
        """Results behind ``cursor``; 0 is before the first.

        Raises:
            InputError: the cursor is ahead of the log.
            StoreError: the next entry cannot be read; ``resume_after`` is a cursor behind it.
        """

    # Frames that a client pushes

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        """Hand in the next frame of a session with the source ``pushed://``.

        When more wait than the session may hold, the oldest that nobody has taken is dropped.

        Args:
            blob: see ``maskstream.pipeline.api.frame_codec``.
            pts_s: its presentation time.

        Raises:
            SessionError: the session has another source, is draining or over, or
                ``finish_frames`` was called.
            SessionLimitError: the blob is too large.
        """

    def finish_frames(self, session_id: str) -> None:
        """Say that no more frames will come. What waits is still taken. Twice is fine.

        Raises:
            SessionError: as ``push_frame``.
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
        """Pushed frames with sequences above ``after``.

        Args:
            done: frames up to this one are freed; those between it and ``after`` can be taken
                again, 256 at most. None: all up to ``after``.

        Raises:
            SessionError: the session has another source.
            InputError: ``after`` is ahead of the frames.
            StoreError: the first of them cannot be read; ``resume_after`` takes the next one.
        """

    # Checkpoints

    def save_checkpoint(
        self, session_id: str, checkpoint: Checkpoint, *, writer: int | None = None
    ) -> bool:
        """Replace the checkpoint; False when the one stored is farther on.

        Raises:
            SessionError: it claims entries that are not settled or results that are not
                published, or the writer was superseded.
        """

    def load_checkpoint(self, session_id: str) -> Checkpoint | None:
        """The newest checkpoint; None when there is none.

        Raises:
            StoreError: it was damaged.
        """
