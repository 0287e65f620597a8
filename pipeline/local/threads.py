"""Sessions of a store, each served by a thread of this process."""

from __future__ import annotations

import logging
import threading

from maskstream.core.closing import Closing
from maskstream.core.error_text import error_text
from maskstream.core.errors import MaskstreamError, SessionNotFoundError
from maskstream.pipeline.api.options import MEMORY_SCHEME, SessionOptions
from maskstream.pipeline.local.decoding import LocalDecoder
from maskstream.pipeline.local.memory_sources import MemorySources
from maskstream.pipeline.session.feed import Feed
from maskstream.pipeline.session.file_feed import FailedFeed, FileFeed
from maskstream.pipeline.session.open_feed import SourcePolicy, open_feed
from maskstream.pipeline.session.opening import RunnerConfig
from maskstream.pipeline.session.ports import SessionTools
from maskstream.pipeline.session.runner import SessionRunner
from maskstream.pipeline.session.watched_feed import WatchedFeed
from maskstream.pipeline.store import SessionState, SessionStore

_LOG = logging.getLogger("maskstream.local")

# One frame at a time: detection and tracking share the session's thread. The store ends with the
# process, so there is nobody whom a checkpoint could serve, and looking into it costs nothing.
CONFIG = RunnerConfig(depth=1, checkpoint_every_s=None, poll_every_s=0.0, look_every_s=0.02)


class _Stop(threading.Event):
    """Also set as soon as the main thread has ended, when Python waits for all others."""

    def is_set(self) -> bool:
        return super().is_set() or not threading.main_thread().is_alive()


class SessionThreads(Closing):
    """Serves sessions until they are over.

    Promises: whatever goes wrong in a session ends that session, which then says why; other
    sessions and the process go on. When the main thread ends, all sessions are left at their next
    frame, and the process ends with them.

    Args:
        store: holds the sessions.
        tools: the model.
        config: how sessions are served.
        policy: which sources may be opened.
        memory: the pictures of sessions that have theirs in memory.

    Attributes:
        stopping: set by ``close``.
    """

    def __init__(
        self,
        store: SessionStore,
        tools: SessionTools,
        config: RunnerConfig = CONFIG,
        policy: SourcePolicy | None = None,
        memory: MemorySources | None = None,
    ) -> None:
        self._store = store
        self._tools = tools
        self._config = config
        self._policy = SourcePolicy() if policy is None else policy
        self._memory = MemorySources() if memory is None else memory
        self.stopping = _Stop()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def serve(self, session_id: str) -> None:
        """Begin to serve a session; returns at once."""
        # Not a daemon: Python ends those in the middle of torch's code, which aborts the process.
        thread = threading.Thread(
            target=self._run, args=(session_id,), name=f"session-{session_id[:40]}"
        )
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Leave all sessions as they are, each at its next frame. Closing twice is fine."""
        self.stopping.set()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout_s)

    def _run(self, session_id: str) -> None:
        # Stands when an exception passes that nobody expects; Python prints its traceback.
        reason: str | None = "SessionError: the session has failed by a defect of this program"
        source = ""
        try:
            source = self._store.get_session(session_id).source
            SessionRunner(
                self._store,
                session_id,
                self._tools,
                self._config,
                lambda: LocalDecoder(lambda: self._open_feed(session_id)),
                self.stopping,
            ).run()
            reason = None
        except SessionNotFoundError:
            reason = None  # it was deleted
        except MaskstreamError as error:
            reason = error_text(error)
        finally:
            if reason is not None:
                self._fail(session_id, reason)
            self._memory.forget(source)
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _open_feed(self, session_id: str) -> Feed:
        record = self._store.get_session(session_id)
        if not record.source.startswith(MEMORY_SCHEME):
            feed = open_feed(self._store, session_id, self._policy)
            return WatchedFeed(feed, self._store.pictures, session_id)
        try:
            options = SessionOptions.from_stored(record.options)
            config = self._policy.live_config(options)
            return FileFeed(self._memory.open(record.source), options, config)
        except MaskstreamError as error:
            return FailedFeed(error_text(error))

    def _fail(self, session_id: str, reason: str) -> None:
        try:
            self._store.transition(session_id, SessionState.FAILED, reason=reason)
        except MaskstreamError as error:  # it is gone, or over, or the store is
            _LOG.warning("session %s has failed: %s; %s", session_id, reason, error)
