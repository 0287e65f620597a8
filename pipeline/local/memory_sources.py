"""Pictures in memory as sources of sessions in this process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

from maskstream.core.errors import SourceError
from maskstream.core.pictures import Picture
from maskstream.pipeline.api.options import MEMORY_SCHEME
from maskstream.pipeline.sources import ArraySource, FrameSource


class MemorySources:
    """Keeps the pictures of sessions under names that the store can hold. Any thread may use it.

    The pictures are not copied; each is converted when it is read.
    """

    def __init__(self) -> None:
        self._pictures: dict[str, Sequence[Picture]] = {}
        self._lock = threading.Lock()

    def keep(self, pictures: Sequence[Picture]) -> str:
        """Keep pictures until ``forget``; returns the name of the source."""
        name = f"{MEMORY_SCHEME}{uuid.uuid4().hex}"
        with self._lock:
            self._pictures[name] = pictures
        return name

    def open(self, name: str) -> FrameSource:
        """Open a source by its name.

        Raises:
            SourceError: this process has no such pictures.
            ImageError: the first picture has an unusable shape or dtype.
        """
        with self._lock:
            pictures = self._pictures.get(name)
        if pictures is None:
            raise SourceError(f"{name}: this process has no such pictures; start a session on them")
        return ArraySource(pictures)

    def forget(self, name: str) -> None:
        """Let go of pictures, if there are any of this name."""
        with self._lock:
            self._pictures.pop(name, None)
