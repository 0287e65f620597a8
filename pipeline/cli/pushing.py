"""Reads a source in this process and pushes its frames, so that overlays can be painted here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from maskstream.core.errors import MaskstreamError
from maskstream.core.frame_stamp import FrameStamp
from maskstream.pipeline.api.frame_codec import decode_frame, encode_frame
from maskstream.pipeline.api.options import source_kind
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.live import LiveConfig, LiveSource, open_live

_MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Pushed:
    """A frame that was pushed, and its picture as the session got it."""

    blob: bytes
    stamp: FrameStamp

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return decode_frame(self.blob)


class FramePusher:
    """Reads a source in a thread of its own and pushes its frames as JPEG.

    Frames of a live source are pushed as they come, and the session drops those that it has no room
    for. Of a file at most ``max_ahead`` frames are pushed beyond the newest result. The newest 256
    frames are kept until they are painted.

    Raises:
        InputError: the source is not allowed.
        SourceError: there is no such file.
    """

    def __init__(
        self, client: Client, session_id: str, source: str, config: LiveConfig, max_ahead: int
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._max_ahead = max_ahead if source_kind(source) == "file" else None
        self._kept: OrderedDict[int, Pushed] = OrderedDict()
        self._changed = threading.Condition()
        self._num_done = 0
        self._is_stopped = False
        self.error: MaskstreamError | None = None
        self.source: LiveSource = open_live(source, config)
        self._thread = threading.Thread(target=self._run, name="frame-pusher", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading, and wait up to five seconds for the thread."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def stop(self) -> None:
        """Read no more. The session still works on the frames that were pushed."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self.source.close()

    def take(self, index: int) -> Pushed | None:
        """The frame that the session counts as ``index``; it and earlier ones are then dropped."""
        with self._changed:
            found = self._kept.get(index)
            for earlier in [number for number in self._kept if number <= index]:
                del self._kept[earlier]
            self._num_done = max(self._num_done, index + 1)
            self._changed.notify_all()
            return found

    def _run(self) -> None:
        try:
            for frame in self.source:
                if not self._push(Pushed(encode_frame(frame.image, "jpeg"), frame.stamp)):
                    break
        except MaskstreamError as error:
            self.error = error
        finally:
            self._finish()

    def _push(self, pushed: Pushed) -> bool:
        """Push one frame; False when the thread is to stop."""
        receipt = self._client.store.push_frame(self._session_id, pushed.blob, pushed.stamp.pts_s)
        with self._changed:
            self._kept[receipt.sequence - 1] = pushed
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
            while (
                self._max_ahead is not None
                and receipt.sequence - self._num_done >= self._max_ahead
                and not self._is_stopped
            ):
                self._changed.wait()
            return not self._is_stopped

    def _finish(self) -> None:
        try:
            self._client.store.finish_frames(self._session_id)
        except MaskstreamError as error:
            self.error = self.error or (None if self._is_stopped else error)
