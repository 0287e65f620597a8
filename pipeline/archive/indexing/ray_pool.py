"""Works on jobs with Ray Data: a pool of actors, each with the model, on all machines of a cluster.

What Ray Data does when an actor dies decides how it is used here. Ray starts a dead actor again
without end, so that the pool never waits for one that is gone; the task that it died of is not
tried again, and an actor has no other task waiting. So a death costs its own task alone. Which jobs
came back, and what is on storage, decides what is done next (:mod:`rounds`); Ray's own attempts to
repeat work do not.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from maskstream.core.closing import Closing
from maskstream.core.errors import ArchiveError, ConfigError
from maskstream.pipeline.archive.format.records import IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.control import DriverEnd, WorkerEnd
from maskstream.pipeline.archive.indexing.indexer import ChunkDone, Indexer, Outcome
from maskstream.pipeline.archive.indexing.tools import IndexingTools, load_tools
from maskstream.pipeline.archive.plan.jobs import Job
from maskstream.pipeline.runtime.config import RuntimeConfig
from maskstream.pipeline.runtime.nodes import num_gpus, start_ray
from maskstream.workers.parent import end_with_parent

_LOOK_S = 0.5
_TASKS_A_WORKER = 16
_MOST_JOBS_A_TASK = 8
_CANNOT_WRITE = "cannot write"

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RayPoolConfig:
    """How a build runs on Ray.

    Attributes:
        num_workers: largest number of actors; None: one for each GPU, else one for each core.
        num_cpus: cores that each asks for.
        num_gpus: GPUs that each asks for; may be a fraction. None: 1 where the cluster has any.
        in_hand: how many videos an actor works on at once.
        ray_address: of the cluster to connect to; None starts Ray on this machine.
        factory: makes the tools of an actor; importable there.
        options: arguments of the factory by name; plain values.
    """

    num_workers: int | None = None
    num_cpus: float = 1.0
    num_gpus: float | None = None
    in_hand: int = 1
    ray_address: str | None = None
    factory: Callable[..., IndexingTools] = load_tools
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked without a cluster.

        Raises:
            ConfigError: a number is too small.
        """
        if self.num_workers is not None and self.num_workers < 1:
            raise ConfigError(f"num_workers is {self.num_workers}; there must be one at least")
        if self.in_hand < 1:
            raise ConfigError(f"in_hand is {self.in_hand}; it must be 1 at least")


class RayPool(Closing):
    """The pool of actors.

    Args:
        settings: of the index.
        storage: of the index; its address must mean the same on all machines.
        config: see ``RayPoolConfig``.
        tell: called after each chunk, in a thread of its own.
        must_stop: asked now and then; True: no more chunks are begun.

    Raises:
        ConfigError: there is no cluster at the address.
    """

    def __init__(
        self,
        settings: IndexSettings,
        storage: Storage,
        config: RayPoolConfig,
        *,
        tell: Callable[[ChunkDone], None] = lambda chunk: None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._config = config
        self._owns_ray = start_ray(RuntimeConfig(ray_address=config.ray_address))
        self._gpus = (1.0 if num_gpus() else 0.0) if config.num_gpus is None else config.num_gpus
        self._num_workers = config.num_workers or self._one_for_each()
        self._driver = DriverEnd(tell, must_stop)

    def run(self, jobs: Sequence[Job], *, is_alone: bool) -> Iterator[Outcome]:
        """See ``Pool``."""
        by_key = {job.key: job for job in jobs}
        try:
            with _repeating(self._driver.look):
                for answer in self._answers(jobs, is_alone):
                    if answer["ending"] == _CANNOT_WRITE:
                        raise ArchiveError(answer["reason"])
                    job = by_key[answer["video_id"], answer["pass_key"], answer["part"]]
                    yield Outcome(job, answer["ending"], answer["reason"])
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ArchiveError(f"Ray has ended the build: {reason}") from error

    def close(self) -> None:
        """End the actors, and Ray if this pool has started it."""
        self._driver.close()
        if self._owns_ray:
            ray.shutdown()

    def _answers(self, jobs: Sequence[Job], is_alone: bool) -> Iterator[Mapping[str, Any]]:
        num_workers = 1 if is_alone else self._num_workers
        in_hand = 1 if is_alone else self._config.in_hand
        at_once = 1 if is_alone else self._jobs_a_task(len(jobs), num_workers, in_hand)
        with _context():
            dataset = ray.data.from_items(
                [{"job": job.model_dump_json()} for job in jobs],
                override_num_blocks=-(-len(jobs) // at_once),
            )
            actor: Any = IndexingActor  # Ray's types want __call__ without further arguments
            done = dataset.map_batches(
                actor,
                batch_size=None,
                compute=ActorPoolStrategy(
                    min_size=1,
                    max_size=num_workers,
                    initial_size=min(num_workers, len(jobs)),
                    max_tasks_in_flight_per_actor=1,
                ),
                num_cpus=self._config.num_cpus,
                num_gpus=self._gpus or None,
                max_restarts=-1,
                max_task_retries=0,
                fn_constructor_args=(
                    self._settings.model_dump_json(),
                    self._storage.url,
                    self._config.factory,
                    dict(self._config.options),
                    self._driver.control,
                ),
                fn_kwargs={"in_hand": in_hand, "is_alone": is_alone},
            )
        return iter(done.iter_rows())

    def _jobs_a_task(self, num_jobs: int, num_workers: int, in_hand: int) -> int:
        """A few times what is in hand, so that hands are full; few enough for many tasks."""
        share = num_jobs // (num_workers * _TASKS_A_WORKER * in_hand)
        return in_hand * max(1, min(_MOST_JOBS_A_TASK, share))

    def _one_for_each(self) -> int:
        if self._gpus:
            return max(1, int(num_gpus() / self._gpus))
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1.0) / self._config.num_cpus))


class IndexingActor:
    """The actor: it indexes the jobs of a task.

    Promises: what it knows is on storage, so it may die at any time.

    Args:
        settings: of the index, as JSON.
        index: address of the index.
        factory: makes the tools.
        options: arguments of the factory.
        control: handle of the ``Control`` actor.
    """

    def __init__(
        self,
        settings: str,
        index: str,
        factory: Callable[..., IndexingTools],
        options: Mapping[str, Any],
        control: Any,
    ) -> None:
        end_with_parent()
        end = WorkerEnd(control)
        self._indexer = Indexer(
            IndexSettings.model_validate_json(settings),
            Storage(index),
            factory(**options),
            tell=end.tell,
            must_stop=end.must_stop,
        )

    def __call__(self, batch: Batch, *, in_hand: int, is_alone: bool) -> Batch:
        """Work on the jobs of a batch; returns what became of them."""
        jobs = [Job.model_validate_json(job) for job in batch["job"]]
        answers: list[tuple[str, str, int, str, str]] = []
        try:
            for outcome in self._indexer.work(jobs, in_hand=in_hand, is_alone=is_alone):
                answers.append((*outcome.job.key, outcome.ending, outcome.reason))
        except ArchiveError as error:
            answers.append(("", "", 0, _CANNOT_WRITE, str(error)))
        columns = zip(*answers, strict=True)
        names = ("video_id", "pass_key", "part", "ending", "reason")
        return {name: np.array(column, object) for name, column in zip(names, columns, strict=True)}


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """Ray Data's options for the datasets made within, which keep them."""
    context = DataContext.get_current()
    scaling = context.autoscaling_config
    before = (
        context.max_errored_blocks,
        context.enable_progress_bars,
        scaling.actor_pool_util_upscaling_threshold,
    )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context.max_errored_blocks = -1  # a task that died of a job is no reason to end
    context.enable_progress_bars = False
    scaling.actor_pool_util_upscaling_threshold = 1.0  # when every actor has its one task
    try:
        with warnings.catch_warnings():
            # Options of actors are to have names of their own in Ray 2.64; in 2.60 none has one.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        (
            context.max_errored_blocks,
            context.enable_progress_bars,
            scaling.actor_pool_util_upscaling_threshold,
        ) = before


@contextlib.contextmanager
def _repeating(look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` now and then in another thread."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=run, name="index-control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
