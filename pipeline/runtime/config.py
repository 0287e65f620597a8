"""The options of a runtime, and how many actors of each kind it starts on how many GPUs."""

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
_TIMES = ("lease_s", "death_window_s", "replace_timeout_s", "gcs_missing_s", "ray_answer_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Options of a runtime.

    Raises:
        ConfigError: an option is out of its range.
    """

    model: ModelSpec = field(default_factory=ModelSpec)
    """The checkpoint that all sessions run on, and its device."""

    limits: BatchLimits = field(default_factory=BatchLimits)
    """How frames of several sessions are gathered for detection."""

    runner: RunnerConfig = field(default_factory=RunnerConfig)
    """How each session is served."""

    policy: SourcePolicy = field(default_factory=SourcePolicy)
    """Which sources may be opened."""

    num_detect_workers: int | None = None
    """None: one; with GPUs none: track workers detect too, so that features stay on their GPU."""

    num_track_workers: int | None = None
    """None: one, or one for each GPU."""

    spare_track_workers: int = 0
    """Track workers that stand by with their models loaded, to replace a dead one at once. Each
    needs as much memory as a track worker without sessions."""

    max_sessions: int = 32
    """Sessions that this runtime serves at once. Others wait until it, or another one, has room."""

    lease_s: float = 10.0
    """How long a claim is valid without renewal, in seconds. Then another runtime may take over."""

    max_deaths: int = 5
    """Deaths allowed within ``death_window_s``: of the track workers that serve one session, of one
    detect worker, and of the spares together."""

    death_window_s: float = 60.0
    """Length of the window for ``max_deaths``, in seconds."""

    replace_timeout_s: float = 600.0
    """How long a worker's place may be without one that answers, in seconds: until the workers are
    ready at the start, and after a death. Then the runtime gives up. Loading a large model from a
    slow disk takes minutes."""

    gcs_missing_s: float = 10.0
    """How long the GCS of Ray's cluster may be gone before the runtime gives up, in seconds. A GCS
    that keeps its data elsewhere comes back."""

    ray_answer_s: float = 60.0
    """How long Ray may take to answer the runtime before the runtime gives up, in seconds."""

    max_retries_of_frame: int = 3
    """How often a frame is sent to detection again after its worker has died."""

    ray_address: str | None = None
    """Address of a running Ray cluster. None starts one here, which ends with this process."""

    num_cpus: int | None = None
    """Cores that a cluster started here reports to Ray; None: all of the machine."""

    object_store_bytes: int | None = None
    """Memory of a cluster started here for frames and features in transit; None: Ray's default."""

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_deaths"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.max_retries_of_frame < 0:
            raise ConfigError(
                f"max_retries_of_frame is {self.max_retries_of_frame}; expected 0 or more"
            )
        for name in _TIMES:
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
    """How many actors there are, and their GPUs.

    Attributes:
        num_detect: number of detect workers; 0: track workers detect too.
        detect_gpus: GPUs of each detect worker.
        num_track: number of track workers.
        track_gpus: GPUs of each track worker; may be a fraction.
        spare_gpus: GPUs of each spare track worker; may be a fraction.
    """

    num_detect: int
    detect_gpus: float
    num_track: int
    track_gpus: float
    spare_gpus: float = 0.0


def place(config: RuntimeConfig, num_gpus: float) -> Placement:
    """Divide the GPUs of a cluster among the actors.

    Without GPUs, or on the device "cpu", detection and tracking are separate processes, so that
    they use two cores. With GPUs, each GPU has a track worker that detects too, so that the
    features of a frame (up to 56 MB) never leave the GPU. Separate detect workers help sessions
    with light tracking and many concepts: each gets a GPU, and the track workers share the rest.
    Spares share the GPUs of the track workers. A share decides on which GPU an actor runs; it does
    not limit what the actor uses.

    Args:
        config: the numbers of workers that were asked for.
        num_gpus: GPUs of all machines of the cluster together.

    Raises:
        ConfigError: the detect workers leave no GPU for tracking.
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
            f"num_detect_workers is {detect}, but there are {num_gpus:g} GPUs, and tracking needs "
            "at least one"
        )
    track = config.num_track_workers or int(left)
    return Placement(detect, 1.0 if detect else 0.0, track, *_shares(track, spares, left))


def _shares(num_workers: int, num_spares: int, num_gpus: float) -> tuple[float, float]:
    """The share of a GPU for each worker, and for each spare.

    The shares are small enough that every actor fits on one GPU. They are as large as that allows,
    so that Ray fills all GPUs before two workers share one. A spare keeps its small share when it
    replaces a dead worker.
    """
    spares = math.ceil(num_spares / num_gpus)
    workers = math.ceil(num_workers / num_gpus)
    for_spares = _FOR_SPARES if spares else 0.0
    return (
        _rounded_down((1 - for_spares) / workers),
        _rounded_down(for_spares / spares) if spares else 0.0,
    )


def _rounded_down(share: float) -> float:
    """Round down to Ray's resolution of resources, 0.0001."""
    return math.floor(share * 10_000) / 10_000
