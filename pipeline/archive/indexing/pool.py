"""Who works on jobs: the interface, and this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from maskstream.core.closing import Closing
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.indexer import ChunkDone, Indexer, Outcome
from maskstream.pipeline.archive.indexing.tools import IndexingTools
from maskstream.pipeline.archive.plan.jobs import Job


class Pool(Protocol):
    """Works on jobs, wherever."""

    def run(self, jobs: Sequence[Job], *, is_alone: bool) -> Iterator[Outcome]:
        """Work on jobs; gives outcomes as they come. Some may never come: their worker has died.

        Args:
            jobs: what to do.
            is_alone: one job is in hand at a time, with nothing beside it, for one chunk.

        Raises:
            ArchiveError: the index cannot be read or written, or no worker can be started.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class InProcessPool(Closing):
    """Works in this process.

    Args:
        settings: of the index.
        storage: of the index.
        tools: the model.
        in_hand: how many videos are worked on at once.
        tell: called after each chunk.
        must_stop: asked before each chunk; True: no more are begun.
    """

    def __init__(
        self,
        settings: IndexSettings,
        storage: Storage,
        tools: IndexingTools,
        *,
        in_hand: int = 1,
        tell: Callable[[ChunkDone], None] = lambda chunk: None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._in_hand = in_hand
        self._indexer = Indexer(settings, storage, tools, tell=tell, must_stop=must_stop)

    def run(self, jobs: Sequence[Job], *, is_alone: bool) -> Iterator[Outcome]:
        """See ``Pool``."""
        return self._indexer.work(jobs, in_hand=1 if is_alone else self._in_hand, is_alone=is_alone)

    def close(self) -> None:
        """See ``Pool``."""
