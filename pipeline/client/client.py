"""The session API for any process: it speaks to a runtime through the session store."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from copy import copy
from typing import Any

from maskstream.core.closing import Closing
from maskstream.core.errors import StoreError
from maskstream.pipeline.api.access import Access
from maskstream.pipeline.api.commands import (
    Cancel,
    Command,
    Pause,
    Propagate,
    RemoveObject,
    RemovePrompt,
    Reset,
    Resume,
    prompt_command,
)
from maskstream.pipeline.api.frame_codec import encode_frame, wrap_picture
from maskstream.pipeline.api.outcomes import (
    PromptDetail,
    PropagateDetail,
    RemovedDetail,
    SuccessDetail,
)
from maskstream.pipeline.api.parsing import parse_single_request, parse_stream_request
from maskstream.pipeline.api.requests import (
    AddPrompt,
    CancelPropagation,
    CloseSession,
    GetResults,
    GetSession,
    ListSessions,
    PauseSession,
    PropagateInVideo,
    PushFrame,
    Request,
    ResetSession,
    ResumeSession,
    StartSession,
    StreamRequest,
    StreamResults,
)
from maskstream.pipeline.api.requests import RemoveObject as RemoveObjectRequest
from maskstream.pipeline.api.requests import RemovePrompt as RemovePromptRequest
from maskstream.pipeline.client.answers import (
    Answer,
    entry_answer,
    listing_answer,
    prompt_answer,
    result_of,
    session_answer,
)
from maskstream.pipeline.client.journal_writer import JournalWriter
from maskstream.pipeline.client.result_reader import (
    Entries,
    checked_detail,
    log_entries,
    page_answer,
    run_entries,
)
from maskstream.pipeline.client.starting import SessionStarter
from maskstream.pipeline.store import (
    Outcome,
    ResultEntry,
    SessionLimits,
    SessionStore,
    open_store,
)
from maskstream.pipeline.store.keys import DEFAULT_NAMESPACE
from maskstream.pipeline.store.patience import RETRY_FOR_S
from maskstream.pipeline.store.records import EntryKind


class Client(Closing):
    """Starts, prompts and follows sessions that a runtime serves. Any thread may use it.

    It needs neither torch nor Ray.

    Args:
        store: the URL of the Redis or Valkey server that the runtime uses; or an open store, which
            ``close`` leaves open.
        namespace: the namespace of the runtime's keys.
        secret_key: see :func:`maskstream.pipeline.store.open_store`; only sources with
            credentials need it.
        client_id: names this client in the journal; None makes a name of host and process.
        owner: only this owner's sessions can be started, listed and used. None: everybody's, since
            the owner of a session is a label that its client chooses.
        retry_for_s: how long a call waits for a server that is away; an open store has its own.
        start_timeout_s: how long a runtime may take to begin with a new session.
        answer_timeout_s: how long a session may take to apply a prompt or command.
        close_timeout_s: how long ``close_session`` waits for the session to end.
        takeover_timeout_s: when the runtime of a session is gone, how long another may take to go
            on with the session before readers of its results get an error; None: as long as the
            lease of the first.
        limits: of the sessions that this client creates.
        serve: takes the id of each session that this client creates, and serves it; for a process
            that serves its own sessions. None: a runtime claims them from the store.

    Raises:
        ConfigError: the URL cannot be used.
        StoreError: the server cannot be reached.
    """

    def __init__(
        self,
        store: str | SessionStore,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        secret_key: bytes | None = None,
        client_id: str | None = None,
        owner: str | None = None,
        retry_for_s: float = RETRY_FOR_S,
        start_timeout_s: float = 120.0,
        answer_timeout_s: float = 60.0,
        close_timeout_s: float = 10.0,
        takeover_timeout_s: float | None = None,
        limits: SessionLimits | None = None,
        serve: Callable[[str], None] | None = None,
    ) -> None:
        self._owns_store = isinstance(store, str)
        self.store = (
            open_store(store, namespace, secret_key=secret_key, retry_for_s=retry_for_s)
            if isinstance(store, str)
            else store
        )
        self.client_id = client_id or _make_client_id()
        self._access = Access(owner)
        self._starter = SessionStarter(
            self.store,
            SessionLimits() if limits is None else limits,
            serve,
            start_timeout_s,
            close_timeout_s,
        )
        self.journal = JournalWriter(self.store, self.client_id, answer_timeout_s)
        self._takeover_timeout_s = takeover_timeout_s

    def close(self) -> None:
        """Close the store if this client has opened it. Sessions go on. Closing twice is fine."""
        if self._owns_store:
            self.store.close()

    def for_owner(self, owner: str | None) -> Client:
        """This client, acting for one owner; see ``owner`` above. Closing it closes nothing."""
        twin = copy(self)
        twin._owns_store, twin._access = False, Access(owner)
        return twin

    def check_access(self, session_id: str) -> None:
        """Check that there is a session, and that it may be used.

        Raises:
            SessionNotFoundError: there is none, or it is another owner's.
        """
        self._access.check(session_id, self.store.get_session(session_id).owner)

    def handle_request(self, request: Mapping[str, Any]) -> Answer:
        """Do one thing and answer.

        Args:
            request: see the table of requests in the README.

        Raises:
            RequestError: the request is malformed; every fault is named, and nothing changes.
            SessionNotFoundError: no session goes by this id.
            StoreError: the server cannot be reached, or an entry in it cannot be read.
            MaskstreamError: the session cannot do what was asked; it is as it was.
        """
        return self.answer(parse_single_request(request))

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """Propagate, or follow the log of results, and stream an answer for each frame.

        Both errors come from this call, not from the first frame.

        Raises:
            RequestError: the request is malformed.
            SessionNotFoundError: no session goes by this id.
        """
        return self.stream(parse_stream_request(request))

    def answer(self, request: Request) -> Answer:
        """``handle_request`` for a request that has been checked."""
        if not isinstance(request, StartSession | ListSessions):
            self._check_owner(request.session_id)
        return _HANDLERS[type(request)](self, self._access.narrowed(request))

    def _check_owner(self, session_id: str) -> None:
        """``check_access``, if this client acts for one owner."""
        if self._access.owner is not None:
            self.check_access(session_id)

    def stream(self, request: StreamRequest) -> Iterator[Answer]:
        """``handle_stream_request`` for a request that has been checked."""
        entries, threshold = self.entries(request), request.output_prob_thresh
        if isinstance(request, StreamResults):
            return _answers(
                entries, lambda entry, cursor: entry_answer(entry, threshold) | {"cursor": cursor}
            )
        return _answers(entries, lambda entry, _: entry_answer(entry, threshold))

    def entries(
        self, request: StreamRequest, is_stopped: Callable[[], bool] = lambda: False
    ) -> Entries:
        """The entries of the log that ``stream`` answers with, each with the cursor after it.

        Args:
            is_stopped: ends the reading; it is called about once a second while nothing comes.
        """
        session_id = request.session_id
        if isinstance(request, StreamResults):
            self._check_owner(session_id)
            record = self.store.get_session(session_id)
            return log_entries(
                self.store, record, request.cursor, is_stopped, self._takeover_timeout_s
            )
        run = self.propagate(request)
        return run_entries(
            self.store,
            session_id,
            run,
            lambda: self.journal.cancel_quietly(session_id),
            is_stopped,
            self._takeover_timeout_s,
        )

    def propagate(self, request: PropagateInVideo) -> PropagateDetail:
        """Begin a propagation; returns where in the log of results its frames will be.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionError: it propagates already, runs by itself, or has no prompt.
            InputError: there is no such frame.
        """
        self._check_owner(request.session_id)
        reach = request.max_frame_num_to_track
        command = Propagate(
            direction=request.propagation_direction,
            start_frame_index=request.start_frame_index,
            max_distance=None if reach == -1 else reach,
        )
        outcome = self.journal.apply(request.session_id, "propagate", command)
        return checked_detail(PropagateDetail, outcome.detail, "an outcome")

    # Sessions

    def _start_session(self, request: StartSession) -> Answer:
        return {"session_id": self._starter.start(request)}

    def _close_session(self, request: CloseSession) -> Answer:
        self._starter.close(request.session_id)
        return {"is_success": True}

    def _list_sessions(self, request: ListSessions) -> Answer:
        listing = self.store.list_sessions(request.owner)
        if self._access.owner is not None:  # whose the unreadable ones are cannot be told
            listing = listing.model_copy(update={"unreadable": ()})
        return listing_answer(listing)

    def _get_session(self, request: GetSession) -> Answer:
        return session_answer(self.store.get_session(request.session_id))

    # The journal

    def _add_prompt(self, request: AddPrompt) -> Answer:
        outcome = self.journal.apply(request.session_id, *prompt_command(request))
        detail = checked_detail(PromptDetail, outcome.detail, "an outcome")
        return prompt_answer(
            request.frame_index,
            None if detail.record is None else result_of(detail.record),
            prompt_ids=detail.prompt_ids,
            obj_id=detail.obj_id,
            took_effect_at=_applied_at(outcome),
            threshold=request.output_prob_thresh,
            warnings=detail.warnings,
        )

    def _remove_object(self, request: RemoveObjectRequest) -> Answer:
        command = RemoveObject(obj_id=request.obj_id, keep_away=request.keep_away)
        outcome = self.journal.apply(request.session_id, "remove_object", command)
        detail = checked_detail(RemovedDetail, outcome.detail, "an outcome")
        return {"is_success": detail.is_success, "kept_away": detail.kept_away}

    def _remove_prompt(self, request: RemovePromptRequest) -> Answer:
        command = RemovePrompt(prompt_id=request.prompt_id)
        return self._succeed(request.session_id, "remove_prompt", command)

    def _reset_session(self, request: ResetSession) -> Answer:
        return self._succeed(request.session_id, "reset", Reset())

    def _pause_session(self, request: PauseSession) -> Answer:
        return self._succeed(request.session_id, "pause", Pause())

    def _resume_session(self, request: ResumeSession) -> Answer:
        return self._succeed(request.session_id, "resume", Resume())

    def _cancel_propagation(self, request: CancelPropagation) -> Answer:
        if not self.store.get_session(request.session_id).state.takes_prompts:
            return {"is_success": False}
        return self._succeed(request.session_id, "cancel", Cancel())

    def _succeed(self, session_id: str, kind: EntryKind, command: Command) -> Answer:
        outcome = self.journal.apply(session_id, kind, command)
        detail = checked_detail(SuccessDetail, outcome.detail, "an outcome")
        return {"is_success": detail.is_success}

    # Results and frames

    def _get_results(self, request: GetResults) -> Answer:
        return page_answer(self.store, request)

    def _push_frame(self, request: PushFrame) -> Answer:
        answer: Answer = {"frame_index": None}
        if request.frame is not None:
            frame = request.frame
            blob = (
                wrap_picture(frame)
                if isinstance(frame, bytes)
                else encode_frame(frame, request.coding)
            )
            receipt = self.store.push_frame(request.session_id, blob, request.pts_s)
            answer = {
                "frame_index": receipt.sequence - 1,
                "num_waiting": receipt.num_waiting,
                "num_dropped": receipt.num_dropped,
            }
        if request.is_last:
            self.store.finish_frames(request.session_id)
        return answer


_HANDLERS: dict[type, Callable[[Client, Any], Answer]] = {
    StartSession: Client._start_session,
    AddPrompt: Client._add_prompt,
    RemoveObjectRequest: Client._remove_object,
    RemovePromptRequest: Client._remove_prompt,
    ResetSession: Client._reset_session,
    CloseSession: Client._close_session,
    CancelPropagation: Client._cancel_propagation,
    PauseSession: Client._pause_session,
    ResumeSession: Client._resume_session,
    ListSessions: Client._list_sessions,
    GetSession: Client._get_session,
    GetResults: Client._get_results,
    PushFrame: Client._push_frame,
}


def _answers(entries: Entries, answer: Callable[[ResultEntry, int], Answer]) -> Iterator[Answer]:
    """An answer for each entry. Closing the answers closes the entries."""
    with closing(entries):
        for entry, cursor in entries:
            try:
                told = answer(entry, cursor)
            except StoreError as error:
                entries.throw(error)  # a reader that fails has not stopped on purpose
            yield told


def _make_client_id() -> str:
    return f"{socket.gethostname()[:80]}-{os.getpid()}-{secrets.token_hex(4)}"


def _applied_at(outcome: Outcome) -> int:
    if outcome.frame_index is None:
        raise StoreError("the store holds an outcome that says neither yes nor no")
    return outcome.frame_index
