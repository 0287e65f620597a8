"""The session API that SAM 3 clients speak, in one process."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from maskstream.core.errors import ConfigError, RequestError, SessionError, SessionLimitError
from maskstream.detector.original_options import check_original_options
from maskstream.pipeline.api.options import source_kind
from maskstream.pipeline.api.requests import (
    AddPrompt,
    CancelPropagation,
    CloseSession,
    GetResults,
    GetSession,
    ListSessions,
    PauseSession,
    PushFrame,
    RemoveObject,
    RemovePrompt,
    ResetSession,
    ResumeSession,
    StartSession,
    StreamResults,
    parse_single_request,
    parse_stream_request,
)
from maskstream.pipeline.client.answers import Answer, frame_answer, prompt_answer
from maskstream.pipeline.client.client import Client, new_session
from maskstream.pipeline.live import LiveConfig, open_live, parse_address
from maskstream.pipeline.local.driven import VideoSession, driven_session_answer
from maskstream.pipeline.local.running import RunningSession
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import MemoryStore
from maskstream.pipeline.store.problems import not_pushed
from maskstream.pipeline.store.pushed_frames import StoredFrames
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import Latency, VideoSegmenter

_CLOSE_TIMEOUT_S = 10.0


class Sam3VideoPredictor:
    """Many sessions over one model.

    Sessions on files and folders wait for their client and are stepped in its thread. Those that
    run by themselves (streams, cameras, pushed frames, files with ``autostart``) have a thread
    each, and are spoken to as those of a runtime are: through a store, here one in memory.

    Args:
        model: shared by all sessions.
        latency: "delayed", as offline processing gives it, or "live"; a session may ask for
            another.
        max_sessions: a session more is refused.
        expire_after_s: sessions that nobody has used for so long give way when room is needed; a
            session may ask for another time.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        latency: Latency = "delayed",
        max_sessions: int = 32,
        expire_after_s: float = 3600.0,
    ) -> None:
        self.model = model
        self._latency: Latency = latency
        self._max_sessions = max_sessions
        self._expire_after_s = expire_after_s
        self._sessions: dict[str, VideoSession] = {}
        self._running: dict[str, RunningSession] = {}
        self._starting: set[str] = set()
        self._store = MemoryStore()
        self._client = Client(self._store)
        self._lock = threading.RLock()
        self._handlers: dict[type, Callable[[Any, VideoSession], Answer]] = {
            AddPrompt: _add_prompt,
            RemoveObject: lambda request, session: _success(session.remove_object(request.obj_id)),
            RemovePrompt: lambda request, session: _success(
                session.remove_prompt(request.prompt_id)
            ),
            ResetSession: _reset_session,
            CancelPropagation: lambda request, session: _success(session.cancel()),
            PauseSession: lambda request, session: _success(session.pause()),
            ResumeSession: lambda request, session: _success(session.resume()),
            GetSession: lambda request, session: driven_session_answer(session),
            GetResults: _refuse_log,
            PushFrame: _refuse_frame,
        }

    def handle_request(self, request: Mapping[str, Any]) -> Answer:
        """Do one thing and answer.

        Args:
            request: see the table of requests in the README.

        Raises:
            RequestError: the request is malformed; it names every fault and changes nothing.
            SessionNotFoundError: no session goes by this id.
            MaskstreamError: what was asked cannot be done; the session is as it was.
        """
        parsed = parse_single_request(request)
        if isinstance(parsed, StartSession):
            return self._start_session(parsed)
        if isinstance(parsed, CloseSession):
            return self._close_session(parsed)
        if isinstance(parsed, ListSessions):
            return self._list_sessions(parsed)
        with self._lock:
            session = self._sessions.get(parsed.session_id)
        if session is None:
            return self._client.answer(parsed)
        return self._handlers[type(parsed)](parsed, session)

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """Propagate, or follow a session that runs by itself, and stream an answer a frame.

        Raises:
            RequestError: the request is malformed, at once and not at the first frame.
            SessionNotFoundError: no session goes by this id.
        """
        parsed = parse_stream_request(request)
        with self._lock:
            session = self._sessions.get(parsed.session_id)
        if session is None:
            return self._client.stream(parsed)
        if isinstance(parsed, StreamResults):
            raise no_log(session.session_id)
        steps = session.propagate(
            parsed.propagation_direction, parsed.start_frame_index, parsed.max_frame_num_to_track
        )
        return (
            frame_answer(
                step.result,
                wall_s=step.wall_s,
                epoch=step.epoch,
                threshold=parsed.output_prob_thresh,
            )
            for step in steps
        )

    def close(self) -> None:
        """Close all sessions."""
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
            running = list(self._running)
        for session in sessions:
            session.close()
        for session_id in running:
            self._close_running(session_id)

    def _start_session(self, request: StartSession) -> Answer:
        session_id = request.session_id or uuid.uuid4().hex
        with self._lock:
            if self._is_taken(session_id):
                raise RequestError([f"there is a session {session_id!r} already"])
            if not self._has_room():
                raise SessionLimitError(
                    f"there are {self._max_sessions} sessions, as many as are allowed; close one"
                )
            self._starting.add(session_id)
        # Opening a source can take a while; other sessions go on meanwhile.
        try:
            if request.options.runs_by_itself(request.resource_path):
                self._running[session_id] = self._start_running(session_id, request)
            else:
                self._sessions[session_id] = self._open_driven(session_id, request)
        finally:
            with self._lock:
                self._starting.discard(session_id)
        return {"session_id": session_id}

    def _open_driven(self, session_id: str, request: StartSession) -> VideoSession:
        expire_after_s = request.expire_after_s
        path = parse_address(request.resource_path, LiveConfig()).reveal()
        return VideoSession(
            session_id,
            open_source(path),
            self._segmenter(request),
            owner=request.owner,
            path=request.resource_path,
            options=request.options,
            expire_after_s=self._expire_after_s if expire_after_s is None else expire_after_s,
        )

    def _start_running(self, session_id: str, request: StartSession) -> RunningSession:
        options, path = request.options, request.resource_path
        config = options.to_live_config()
        is_pushed = source_kind(path) == "pushed"
        segmenter = self._segmenter(request)
        # A source that cannot be opened is told before there is a session.
        live = None if is_pushed else open_live(path, config)
        try:
            self._store.create_session(new_session(request, session_id))
            source = live or StoredFrames(self._store, session_id, config)
            return RunningSession(
                self._store,
                session_id,
                source,
                segmenter,
                start_frame=options.start_frame,
                max_frames=options.max_frames,
            )
        except BaseException:
            if live is not None:
                live.close()
            self._store.delete_session(session_id)
            raise

    def _segmenter(self, request: StartSession) -> VideoSegmenter:
        latency = request.latency if "latency" in request.model_fields_set else self._latency
        return VideoSegmenter(self.model, latency=latency, score_threshold=request.score_threshold)

    def _is_taken(self, session_id: str) -> bool:
        listed = {record.session_id for record in self._store.list_sessions().sessions}
        return session_id in {*self._sessions, *self._starting, *listed}

    def _has_room(self) -> bool:
        """Whether one more fits, after sessions that nobody uses any more have gone."""
        if self._num_open() < self._max_sessions:
            return True
        now = time.monotonic()
        for session_id, session in list(self._sessions.items()):
            if now - session.last_used > session.expire_after_s:
                del self._sessions[session_id]
                session.close()
        return self._num_open() < self._max_sessions

    def _num_open(self) -> int:
        running = {
            record.session_id
            for record in self._store.list_sessions().sessions
            if not record.state.is_over
        }
        return len(self._starting | running | self._sessions.keys())

    def _close_session(self, request: CloseSession) -> Answer:
        with self._lock:
            session = self._sessions.pop(request.session_id, None)
        if session is not None:
            session.close()
        else:
            self._close_running(request.session_id)
        return {"is_success": True}

    def _close_running(self, session_id: str) -> None:
        self._client.handle_request({"type": "close_session", "session_id": session_id})
        with self._lock:
            running = self._running.pop(session_id, None)
        if running is not None:
            running.join(_CLOSE_TIMEOUT_S)

    def _list_sessions(self, request: ListSessions) -> Answer:
        answer = self._client.answer(request)
        with self._lock:
            driven = [driven_session_answer(session) for session in self._sessions.values()]
        wanted = [one for one in driven if request.owner in (None, one["owner"])]
        sessions = sorted(answer["sessions"] + wanted, key=lambda one: one["created_s"])
        return answer | {"sessions": sessions}


def no_log(session_id: str) -> SessionError:
    """A session that is driven in process keeps no results."""
    return SessionError(
        f"session {session_id} waits for its client and keeps no log of results in this process; "
        "propagate_in_video streams them"
    )


def _add_prompt(request: AddPrompt, session: VideoSession) -> Answer:
    info = session.source.info
    applied = session.add_prompt(request.frame_index, request.to_prompt(info.width, info.height))
    return prompt_answer(
        request.frame_index,
        applied.result,
        prompt_id=applied.prompt_id,
        obj_id=applied.obj_id,
        took_effect_at=request.frame_index,
        threshold=request.output_prob_thresh,
    )


def _reset_session(request: ResetSession, session: VideoSession) -> Answer:
    session.reset()
    return _success(True)


def _refuse_log(request: GetResults, session: VideoSession) -> Answer:
    raise no_log(session.session_id)


def _refuse_frame(request: PushFrame, session: VideoSession) -> Answer:
    raise not_pushed(session.session_id)


def _success(is_success: bool) -> Answer:
    return {"is_success": is_success}


def build_sam3_video_predictor(
    *,
    checkpoint_path: str | Path | None = None,
    device: torch.device | str | None = None,
    gpus_to_use: Sequence[int] | None = None,
    dtype: torch.dtype | str = torch.float32,
    latency: Latency = "delayed",
    max_sessions: int = 32,
    **original_options: Any,
) -> Sam3VideoPredictor:
    """A predictor over a freshly loaded checkpoint.

    Args:
        checkpoint_path: "tiny", a folder, an official ``.pt`` file or a hub name; None takes
            :func:`maskstream.detector.build.default_checkpoint`.
        device: None takes CUDA where there is one.
        gpus_to_use: the original's way of naming a device; one number.
        original_options: see :mod:`maskstream.detector.original_options`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    check_original_options("build_sam3_video_predictor", original_options)
    if gpus_to_use is not None:
        if device is not None or len(gpus_to_use) != 1:
            raise ConfigError(
                "a predictor runs on one device: give device, or one number in gpus_to_use"
            )
        device = f"cuda:{gpus_to_use[0]}"
    model = VideoModel.from_checkpoint(checkpoint_path, device=device, dtype=dtype)
    return Sam3VideoPredictor(model, latency=latency, max_sessions=max_sessions)
