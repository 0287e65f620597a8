"""How a runtime is built, and which actors it has where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from maskstream.core.errors import ConfigError
from maskstream.pipeline.session.open_feed import SourcePolicy
from maskstream.pipeline.session.opening import RunnerConfig
from maskstream.workers.local_detect import BatchLimits
from maskstream.workers.models import ModelSpec

_MB = 2**20
_FOR_SPARES = 0.1  # of a GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Options of a runtime. Checked once, when made."""

    model: ModelSpec = field(default_factory=ModelSpec)
    """The checkpoint that all sessions run on, and its device."""

    limits: BatchLimits = field(default_factory=BatchLimits)
    """How frames of several sessions are gathered for detection."""

    runner: RunnerConfig = field(default_factory=RunnerConfig)
    """How each session is served."""

    policy: SourcePolicy = field(default_factory=SourcePolicy)
    """Which sources may be opened."""

    num_detect_workers: int | None = None
    """None: one; on GPUs each track worker detects too, so that features stay on its GPU."""

    num_track_workers: int | None = None
    """None: one, or one for each GPU."""

    spare_track_workers: int = 0
    """Track workers that stand by, models loaded, to take a dead one's place at once. Each takes
    as much memory as a track worker without sessions."""

    max_sessions: int = 32
    """Sessions that this runtime serves at once; others wait for another one."""

    lease_s: float = 10.0
    """A session whose runtime has not been heard of for so long is taken over by another."""

    max_deaths: int = 5
    """How often track workers may die under one session, and each detect worker, within
    ``death_window_s``."""

    death_window_s: float = 60.0
    """See ``max_deaths``."""

    max_retries_of_frame: int = 3
    """How often a frame is detected again after its worker has died."""

    ray_address: str | None = None
    """A running Ray cluster; None starts one on this machine, which ends with this process."""

    num_cpus: int | None = None
    """That Ray may count with, on its own cluster; None: all."""

    object_store_bytes: int | None = None
    """Memory for frames and features on their way, on its own cluster; None: Ray's choice."""

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_deaths"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("lease_s", "death_window_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a positive number")
        for name in ("num_detect_workers", "num_track_workers"):
            value = getattr(self, name)
            if value is not None and value < (0 if name == "num_detect_workers" else 1):
                raise ConfigError(f"{name} is {value}; expected a number of workers, or None")
        if self.spare_track_workers < 0:
            raise ConfigError(
                f"spare_track_workers is {self.spare_track_workers}; expected 0 or more"
            )
        if self.object_store_bytes is not None and self.object_store_bytes < 80 * _MB:
            raise ConfigError("object_store_bytes is less than 80 MiB, the least that Ray takes")


@dataclass(frozen=True, slots=True)
class Placement:
    """Which actors there are.

    Attributes:
        num_detect: detect workers; 0: track workers detect too.
        detect_gpus: GPUs that each of them is given.
        num_track: track workers.
        track_gpus: likewise.
        spare_gpus: GPUs that each spare track worker is given.
    """

    num_detect: int
    detect_gpus: float
    num_track: int
    track_gpus: float
    spare_gpus: float = 0.0


def place(config: RuntimeConfig, num_gpus: float) -> Placement:
    """Where the actors go, on a cluster with so many GPUs, of however many machines.

    Without GPUs, or with the device given as "cpu", detection and tracking are processes of their
    own, so that two cores work at once. With GPUs each has a track worker that detects too: the
    features of a frame, up to 56 MB, then never leave it. Detect workers of their own are for
    sessions whose tracking is light and whose concepts are many; they get a GPU each, and the
    track workers share what is left. Spares share the GPUs of the track workers: these shares say
    who goes where, and do not limit what anybody uses.

    Raises:
        ConfigError: more workers than GPUs.
    """
    device = config.model.device
    if num_gpus < 1 or (device is not None and device.startswith("cpu")):
        detect = 1 if config.num_detect_workers is None else config.num_detect_workers
        return Placement(detect, 0.0, config.num_track_workers or 1, 0.0)
    detect = config.num_detect_workers or 0
    left = num_gpus - detect
    spares = config.spare_track_workers
    if left <= 0:
        if num_gpus == detect == 1:
            num_track = config.num_track_workers or 1
            share, spare_share = _shares(1 + num_track, spares, 1)
            return Placement(1, share, num_track, share, spare_share)
        raise ConfigError(
            f"num_detect_workers is {detect}, but there are {num_gpus:g} GPUs, and one at least is "
            "needed for tracking"
        )
    track = config.num_track_workers or int(left)
    return Placement(detect, 1.0 if detect else 0.0, track, *_shares(track, spares, left))


def _shares(num_workers: int, num_spares: int, num_gpus: float) -> tuple[float, float]:
    """What workers and spares are given of a GPU: so many that all fit, each on one GPU, and so
    much that workers are spread before two share one. A spare keeps its part when it takes a dead
    one's place.
    """
    spares = math.ceil(num_spares / num_gpus)
    workers = math.ceil(num_workers / num_gpus)
    for_spares = _FOR_SPARES if spares else 0.0
    return (
        _rounded_down((1 - for_spares) / workers),
        _rounded_down(for_spares / spares) if spares else 0.0,
    )


def _rounded_down(share: float) -> float:
    """As finely as Ray counts."""
    return math.floor(share * 10_000) / 10_000
