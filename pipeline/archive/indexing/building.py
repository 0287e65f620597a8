"""Builds an index, or adds to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from maskstream.core.errors import IndexBusyError, InputError
from maskstream.pipeline.archive.format.records import IndexHead
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.head import (
    add_concepts,
    check_texts,
    open_or_create,
    read_concepts,
)
from maskstream.pipeline.archive.indexing.indexer import ChunkDone, Outcome
from maskstream.pipeline.archive.indexing.lock import BuildLock
from maskstream.pipeline.archive.indexing.pool import Pool
from maskstream.pipeline.archive.indexing.rounds import Rounds
from maskstream.pipeline.archive.indexing.tools import IndexingTools
from maskstream.pipeline.archive.plan.indexed import list_indexed
from maskstream.pipeline.archive.plan.jobs import Job
from maskstream.pipeline.archive.plan.listing import list_archives
from maskstream.pipeline.archive.plan.planning import PlanCounts, Planner


class BuildWatch:
    """Is told how a build goes. This one does nothing: who wants to know overrides.

    ``chunk_done`` may be called in another thread than the others.
    """

    def planned(self, jobs: Sequence[Job], counts: PlanCounts) -> None:
        """What is to be done."""

    def chunk_done(self, chunk: ChunkDone) -> None:
        """A chunk is on storage."""

    def ended(self, outcome: Outcome) -> None:
        """A video is indexed, or has failed."""


@dataclass(slots=True)
class BuildResult:
    """What a build has done.

    Attributes:
        counts: how the files compared with the index when it began.
        num_done: videos that were indexed.
        num_failed: videos that failed, of those that could be opened.
        left: jobs that are left, because the build was stopped.
    """

    counts: PlanCounts
    num_done: int = 0
    num_failed: int = 0
    left: list[Job] = field(default_factory=list)

    def note(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.num_done += outcome.ending == "done"
        self.num_failed += outcome.ending == "failed"


@dataclass(frozen=True, slots=True)
class BuildRules:
    """How a build goes about its work; none of it decides the rows.

    Attributes:
        retry_failures: try again what has failed before.
        max_deaths: how many deaths while nothing else was in hand make a failure.
        wait_s: how long to wait for another build on the index, in seconds.
    """

    retry_failures: bool = False
    max_deaths: int = 3
    wait_s: float = 0.0


def build_index(
    archives: Sequence[str],
    texts: Sequence[str],
    storage: Storage,
    head: IndexHead,
    *,
    load: Callable[[], IndexingTools],
    open_pool: Callable[[Callable[[ChunkDone], None], Callable[[], bool]], Pool],
    rules: BuildRules | None = None,
    watch: BuildWatch | None = None,
    must_stop: Callable[[], bool] = lambda: False,
) -> BuildResult:
    """Index what an index lacks of archives; makes the index if there is none.

    Promises: what is indexed is neither read nor changed. A build that was ended in any way is gone
    on with by calling this again. Readers see a video when all of it is there, and not before.

    Args:
        archives: folders, files, globs, manifests; none of them: all videos that the index holds.
        texts: concepts to look for, beside those that the index has.
        storage: of the index.
        head: what a new index is like, and what one that exists must be like.
        load: loads the model, to embed new concepts.
        open_pool: starts those who work. Takes what is called after each chunk, and what is asked
            before each: True, and no more are begun.
        rules: how to go about it.
        watch: is told how it goes.
        must_stop: True ends the build when the chunks in hand are done.

    Raises:
        InputError: an archive or a concept cannot be used.
        IndexBusyError: another process builds on the index.
        IndexMismatchError: the index has other settings.
        ArchiveError: the index cannot be read or written.
    """
    watch = BuildWatch() if watch is None else watch
    rules = BuildRules() if rules is None else rules
    wanted = check_texts(texts)
    with BuildLock(storage, wait_s=rules.wait_s) as lock:
        open_or_create(storage, head)
        known = read_concepts(storage)
        new = [text for text in wanted if text not in known]
        if not known and not new:
            raise InputError("an index needs a concept to look for; give --text")
        if new:
            add_concepts(storage, new, head.settings.checkpoint, load().embed)
        planner = Planner(
            storage, head.settings, [*known, *new], retry_failures=rules.retry_failures
        )
        files = list_archives(archives) if archives else list_indexed(storage)
        jobs = list(planner.plan(files))
        watch.planned(jobs, planner.counts)
        result = BuildResult(planner.counts)
        if not jobs:
            return result

        def is_over() -> bool:
            return must_stop() or lock.is_lost

        def note(outcome: Outcome) -> None:
            result.note(outcome)
            watch.ended(outcome)

        with contextlib.closing(open_pool(watch.chunk_done, is_over)) as pool:
            rounds = Rounds(
                storage,
                pool,
                max_deaths=rules.max_deaths,
                tell=note,
                must_stop=is_over,
            )
            result.left = rounds.run(jobs)
        if lock.is_lost:
            raise IndexBusyError(f"another build has begun on {storage.url}; this one has ended")
    return result
