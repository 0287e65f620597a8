"""Several processes that train one model together, each on its part of every batch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes


@dataclass(frozen=True, slots=True)
class Team:
    """This process's place among those that train together; rank 0 writes logs and files."""

    rank: int = 0
    size: int = 1

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace every parameter's gradient by the mean over the team, in one exchange.

        A parameter that took no part in this process's batch counts with a gradient of zero.
        """
        if self.size == 1:
            return
        parts = [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in parameters
        ]
        joined = torch.cat(parts)
        dist.all_reduce(joined)
        joined /= self.size
        split = joined.split([part.numel() for part in parts])
        for parameter, mean in zip(parameters, split, strict=True):
            parameter.grad = mean.view_as(parameter)


def take_step(optimizer: torch.optim.Optimizer, team: Team, max_grad_norm: float) -> float:
    """Average the gradients over the team, clip them, and move the parameters that are trained.

    Returns:
        Norm of the gradients before they were clipped.
    """
    groups = optimizer.param_groups
    trained = [p for group in groups for p in group["params"] if p.requires_grad]
    team.average_gradients(trained)
    norm = nn.utils.clip_grad_norm_(trained, max_grad_norm)
    optimizer.step()
    return float(norm)


def _member(rank: int, size: int, meeting: str, work: Callable[[Team], None]) -> None:
    # Linux divides a busy machine among sessions first: in one session, all members together
    # would get one process's share.
    os.setsid()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    try:
        work(Team(rank, size))
    finally:
        dist.destroy_process_group()


def run_team(size: int, work: Callable[[Team], None]) -> None:
    """Call ``work`` in ``size`` processes; it must be picklable by name when size > 1."""
    if size == 1:
        work(Team())
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        start_processes(_member, args=(size, meeting, work), nprocs=size, start_method="spawn")
