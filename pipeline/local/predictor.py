"""The session API that SAM 3 clients speak, served by this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maskstream.core.closing import Closing
from maskstream.core.errors import SessionError
from maskstream.pipeline.api.fields import PicturesInMemory
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.api.parsing import parse_single_request, parse_stream_request
from maskstream.pipeline.api.requests import StartSession
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.detection import LocalTools
from maskstream.pipeline.local.memory_sources import MemorySources
from maskstream.pipeline.local.threads import SessionThreads
from maskstream.pipeline.local.torch_thread import TorchThread
from maskstream.pipeline.store import MemoryStore, ServiceLimits, SessionLimits
from maskstream.pipeline.video.model import VideoModel

# On a CPU, a frame of a large model with many objects can take minutes.
_ANSWER_TIMEOUT_S = 3600.0
# A result with five masks of 1080p takes 14 kB, and the log of each session is in this process.
_MAX_RESULTS = 1000


class Sam3VideoPredictor(Closing):
    """Many sessions over one model, each in a thread of this process.

    They are served by the same loop as the sessions of a runtime, through a store in memory, and
    answer as those do.

    Args:
        model: shared by all sessions.
        latency: "delayed", as offline processing gives it, or "live"; a session may ask for
            another.
        max_sessions: a session more is refused.
        expire_after_s: a session that nobody has used for so long is closed; a session may ask
            for another time.
        torch_thread: computes; best the thread that has loaded the model. None starts one. It ends
            with the predictor.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        latency: Latency = "delayed",
        max_sessions: int = 32,
        expire_after_s: float = 3600.0,
        torch_thread: TorchThread | None = None,
    ) -> None:
        self._model = model
        self._is_closed = False
        self._defaults = {"latency": latency, "expire_after_s": expire_after_s}
        self._store = MemoryStore()
        self._store.set_service_limits(
            ServiceLimits(max_sessions=max_sessions, max_sessions_per_owner=max_sessions)
        )
        self._torch_thread = TorchThread() if torch_thread is None else torch_thread
        tools = LocalTools(lambda: self.video_model, self._torch_thread)
        self._memory = MemorySources()
        self._threads = SessionThreads(self._store, tools, memory=self._memory)
        self._client = Client(
            self._store,
            start_timeout_s=_ANSWER_TIMEOUT_S,
            answer_timeout_s=_ANSWER_TIMEOUT_S,
            limits=SessionLimits(max_results=_MAX_RESULTS),
            serve=self._threads.serve,
        )

    @property
    def video_model(self) -> VideoModel:
        """The model of sessions that start now."""
        return self._model

    def handle_request(self, request: Mapping[str, Any]) -> Answer:
        """Do one thing and answer; see :meth:`Client.handle_request`.

        Raises:
            SessionError: the predictor is closed.
        """
        parsed = parse_single_request(request)
        self._check_open()
        if isinstance(parsed, StartSession):
            missing = self._defaults.keys() - parsed.model_fields_set
            parsed = parsed.model_copy(update={name: self._defaults[name] for name in missing})
            if isinstance(parsed.resource_path, PicturesInMemory):
                return self._start_on_pictures(parsed, parsed.resource_path)
        return self._client.answer(parsed)

    def _check_open(self) -> None:
        if self._is_closed:
            raise SessionError("the predictor is closed, and its sessions with it; build a new one")

    def _start_on_pictures(self, request: StartSession, source: PicturesInMemory) -> Answer:
        name = self._memory.keep(source.pictures)
        try:
            return self._client.answer(request.model_copy(update={"resource_path": name}))
        except BaseException:
            self._memory.forget(name)
            raise

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """Propagate, or follow a session; see :meth:`Client.handle_stream_request`.

        Raises:
            SessionError: the predictor is closed.
        """
        parsed = parse_stream_request(request)
        self._check_open()
        return self._client.stream(parsed)

    def close(self) -> None:
        """Close all sessions. Closing twice is fine."""
        self._is_closed = True
        self._threads.close()
        self._torch_thread.close()
        self._store.close()
