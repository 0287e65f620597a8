"""Has jobs worked on until all are done or have failed, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from maskstream.core.errors import ArchiveError
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.attempts import Attempts
from maskstream.pipeline.archive.indexing.indexer import Outcome
from maskstream.pipeline.archive.indexing.pool import Pool
from maskstream.pipeline.archive.plan.failures import write_failure
from maskstream.pipeline.archive.plan.jobs import Job, JobKey

_ROUNDS_WITHOUT_NEWS = 3


class Rounds:
    """Runs jobs in rounds; in each, all that is left.

    Promises: a job whose worker has died is tried alone before it may be with others again. One
    that was in hand alone at ``max_deaths`` deaths is recorded as a failure; deaths of earlier
    builds count. Every other job ends as it would have ended without it.

    Args:
        storage: of the index.
        pool: who works.
        max_deaths: how many deaths make a failure.
        tell: called with each outcome that counts: done or failed.
        must_stop: True: no further round is begun. The pool asks it, too.
    """

    def __init__(
        self,
        storage: Storage,
        pool: Pool,
        *,
        max_deaths: int,
        tell: Callable[[Outcome], None] = lambda outcome: None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._pool = pool
        self._max_deaths = max_deaths
        self._tell = tell
        self._attempts = Attempts(storage)
        self._must_stop = must_stop

    def run(self, jobs: Iterable[Job]) -> list[Job]:
        """Work on jobs; returns those that are left because it must stop.

        Raises:
            ArchiveError: the index cannot be read or written, or workers end before they begin.
        """
        left = {job.key: job for job in jobs}
        rounds_without_news = 0
        while left and not self._must_stop():
            suspects = self._suspects(left)
            news = self._round(suspects, left, is_alone=True) if suspects else 0
            blamed = self._suspects(left)
            if left and not blamed and not self._must_stop():
                news += self._round(list(left.values()), left, is_alone=False)
            if news or blamed:
                rounds_without_news = 0
                continue
            rounds_without_news += 1
            if rounds_without_news == _ROUNDS_WITHOUT_NEWS:
                raise ArchiveError(
                    "the workers end before they begin with anything; see Ray's logs"
                )
        return list(left.values())

    def _suspects(self, left: dict[JobKey, Job]) -> list[Job]:
        """Jobs that were in hand at a death. Those to blame become failures and leave ``left``."""
        suspects = []
        for key in sorted(self._attempts.noted() & left.keys()):
            job = left[key]
            notes = self._attempts.open_notes(job)
            if notes.num_alone >= self._max_deaths:
                del left[key]
                self._give_up(job, notes.num_alone, notes.num_alone + notes.num_shared)
            elif notes:
                suspects.append(job)
        return suspects

    def _give_up(self, job: Job, num_alone: int, num_tried: int) -> None:
        reason = (
            f"its worker died {num_alone} times while it worked on nothing else: in its memory, "
            "its decoder or its driver something ends the process"
        )
        write_failure(self._storage, job, "died", reason, num_tried)
        self._attempts.end(job)
        self._tell(Outcome(job, "failed", reason))

    def _round(self, jobs: list[Job], left: dict[JobKey, Job], *, is_alone: bool) -> int:
        """One round; returns how many outcomes came."""
        num_news = 0
        for outcome in self._pool.run(jobs, is_alone=is_alone):
            num_news += 1
            if outcome.ending != "left":
                del left[outcome.job.key]
                self._tell(outcome)
        return num_news
