"""The actor through which the driver and the workers of a build speak while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from maskstream.pipeline.archive.indexing.indexer import ChunkDone
from maskstream.pipeline.archive.plan.jobs import Job
from maskstream.workers.faults import DEATHS
from maskstream.workers.scheduling import beside_caller

_ANSWER_S = 10.0


class Control:
    """Holds whether to stop, and the chunks that were done since they were asked for last."""

    def __init__(self) -> None:
        self._must_stop = False
        self._done: list[tuple[str, int, float]] = []

    def stop(self) -> None:
        self._must_stop = True

    def must_stop(self) -> bool:
        return self._must_stop

    def note(self, job: str, num_frames: int, time_s: float) -> None:
        self._done.append((job, num_frames, time_s))

    def take(self) -> list[tuple[str, int, float]]:
        done, self._done = self._done, []
        return done


def start_control() -> Any:
    """Start the actor on this machine; returns its handle. It ends with the handle.

    It asks for no share of a core, which a worker of one core might lack then; and for a byte of
    memory, since Ray puts actors that ask for nothing on a random machine.
    """
    where = {**beside_caller(), "num_cpus": 0, "memory": 1}
    return ray.remote(Control).options(max_restarts=-1, **where).remote()


class WorkerEnd:
    """The worker's end. Work goes on without news if the actor does not answer.

    Args:
        control: handle of the actor.
    """

    def __init__(self, control: Any) -> None:
        self._control = control

    def tell(self, chunk: ChunkDone) -> None:
        """Tell of a chunk."""
        self._control.note.remote(chunk.job.model_dump_json(), chunk.num_frames, chunk.time_s)

    def must_stop(self) -> bool:
        """Whether to begin no more chunks."""
        try:
            answer: bool = ray.get(self._control.must_stop.remote(), timeout=_ANSWER_S)
        except (*DEATHS, ray.exceptions.GetTimeoutError):
            return False
        return answer


class DriverEnd:
    """The driver's end.

    Args:
        tell: called for each chunk that workers have told of.
        must_stop: whether the build is to stop.
    """

    def __init__(self, tell: Callable[[ChunkDone], None], must_stop: Callable[[], bool]) -> None:
        self.control = start_control()
        self._tell = tell
        self._must_stop = must_stop
        self._has_stopped = False

    def look(self) -> None:
        """Hand on what workers have told, and tell them to stop."""
        try:
            if self._must_stop() and not self._has_stopped:
                ray.get(self.control.stop.remote(), timeout=_ANSWER_S)
                self._has_stopped = True
            done = ray.get(self.control.take.remote(), timeout=_ANSWER_S)
        except (*DEATHS, ray.exceptions.GetTimeoutError):
            self._has_stopped = False  # Ray starts it again, and it has forgotten
            return
        for job, num_frames, time_s in done:
            self._tell(ChunkDone(Job.model_validate_json(job), num_frames, time_s))

    def close(self) -> None:
        """End the actor."""
        self.look()
        ray.kill(self.control)
