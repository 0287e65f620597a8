"""The session API that SAM 3 clients speak, in one process."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from core.errors import ConfigError, RequestError, SessionLimitError, SessionNotFoundError
from detector.original_options import check_original_options
from pipeline.model import VideoModel
from pipeline.requests import (
    AddPrompt,
    CancelPropagation,
    CloseSession,
    PropagateInVideo,
    RemoveObject,
    RemovePrompt,
    Request,
    ResetSession,
    StartSession,
    parse_request,
)
from pipeline.segmenter import Latency, VideoSegmenter
from pipeline.session import VideoSession
from pipeline.sources import open_source

Answer = dict[str, Any]


class Sam3VideoPredictor:
    """Many sessions over one model.

    Args:
        model: shared by all sessions.
        latency: "delayed", as offline processing gives it, or "live".
        max_sessions: a session more is refused.
        expire_after_s: sessions that nobody has used for so long give way when room is needed.
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
        self._lock = threading.Lock()
        self._handlers: dict[type, Callable[[Any], Answer]] = {
            StartSession: self._start_session,
            AddPrompt: self._add_prompt,
            RemoveObject: self._remove_object,
            RemovePrompt: self._remove_prompt,
            ResetSession: self._reset_session,
            CloseSession: self._close_session,
            CancelPropagation: self._cancel_propagation,
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
        parsed = parse_request(request)
        handler = self._handlers.get(type(parsed))
        if handler is None:
            raise RequestError(
                [f"{parsed.type} answers with a stream; send it to handle_stream_request"]
            )
        return handler(parsed)

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """Propagate and stream ``{"frame_index", "outputs"}`` for frame after frame.

        Raises:
            RequestError: the request is malformed, at once and not at the first frame.
            SessionNotFoundError: no session goes by this id.
        """
        parsed = parse_request(request)
        if not isinstance(parsed, PropagateInVideo):
            raise RequestError(
                [f"{parsed.type} answers at once; send it to handle_request instead"]
            )
        session = self._session(parsed)
        results = session.propagate(
            parsed.propagation_direction, parsed.start_frame_index, parsed.max_frame_num_to_track
        )
        threshold = parsed.output_prob_thresh
        return (
            {"frame_index": result.frame_index, "outputs": result.above(threshold).to_outputs()}
            for result in results
        )

    def close(self) -> None:
        """Close all sessions."""
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()

    def _start_session(self, request: StartSession) -> Answer:
        session_id = request.session_id or uuid.uuid4().hex
        source = open_source(request.resource_path)
        session = VideoSession(
            session_id, source, VideoSegmenter(self.model, latency=self._latency)
        )
        with self._lock:
            if session_id in self._sessions:
                problem: Exception = RequestError([f"there is a session {session_id!r} already"])
            elif not self._has_room():
                problem = SessionLimitError(
                    f"there are {len(self._sessions)} sessions, as many as are allowed; close one"
                )
            else:
                self._sessions[session_id] = session
                return {"session_id": session_id}
        source.close()
        raise problem

    def _has_room(self) -> bool:
        """Whether one more fits, after sessions that nobody uses any more have gone."""
        if len(self._sessions) < self._max_sessions:
            return True
        now = time.monotonic()
        for session_id, session in list(self._sessions.items()):
            if now - session.last_used > self._expire_after_s:
                del self._sessions[session_id]
                session.close()
        return len(self._sessions) < self._max_sessions

    def _add_prompt(self, request: AddPrompt) -> Answer:
        session = self._session(request)
        info = session.source.info
        result = session.add_prompt(request.frame_index, request.to_prompt(info.width, info.height))
        outputs = result.above(request.output_prob_thresh).to_outputs()
        return {"frame_index": request.frame_index, "outputs": outputs}

    def _remove_object(self, request: RemoveObject) -> Answer:
        return {"is_success": self._session(request).remove_object(request.obj_id)}

    def _remove_prompt(self, request: RemovePrompt) -> Answer:
        return {"is_success": self._session(request).remove_prompt(request.prompt_id)}

    def _reset_session(self, request: ResetSession) -> Answer:
        self._session(request).reset()
        return {"is_success": True}

    def _cancel_propagation(self, request: CancelPropagation) -> Answer:
        return {"is_success": self._session(request).cancel()}

    def _close_session(self, request: CloseSession) -> Answer:
        with self._lock:
            session = self._sessions.pop(request.session_id, None)
        if session is not None:
            session.close()
        return {"is_success": True}

    def _session(self, request: Request) -> VideoSession:
        session_id = request.session_id
        with self._lock:
            session = self._sessions.get(session_id or "")
        if session is None:
            raise SessionNotFoundError(
                f"there is no session {session_id!r}: it was never started, was closed, or has "
                "expired; start_session opens one"
            )
        return session


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
            :func:`detector.build.default_checkpoint`.
        device: None takes CUDA where there is one.
        gpus_to_use: the original's way of naming a device; one number.
        original_options: see :mod:`detector.original_options`.

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
