"""The options of the runtime that ``maskstream serve`` and ``maskstream stream`` start."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from maskstream.core.errors import ConfigError
from maskstream.pipeline.cli.arguments import count, positive, positive_number
from maskstream.pipeline.cli.web_options import web_config
from maskstream.pipeline.live import HostFilter
from maskstream.pipeline.store.address import is_on_this_machine

if TYPE_CHECKING:
    from maskstream.pipeline.runtime import RuntimeConfig


def add_runtime_options(parser: ArgumentParser) -> None:
    """Define the options that ``runtime_config`` reads."""
    group = parser.add_argument_group("runtime")
    group.add_argument(
        "--checkpoint", help="tiny (embedded), a folder, a .pt file or a hub name; default: tiny"
    )
    group.add_argument("--device", help="cpu, cuda …; default: CUDA where there is one")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="default: bfloat16 on CUDA, else float32",
    )
    group.add_argument(
        "--detect-workers", type=count, metavar="N", help="default: 1; on GPUs as many as fit"
    )
    group.add_argument(
        "--track-workers", type=positive, metavar="N", help="default: 1, or one for each GPU"
    )
    group.add_argument(
        "--spare-track-workers",
        type=count,
        default=0,
        metavar="N",
        help="track workers that wait with their models loaded, so that sessions go on at once "
        "when another one dies; default: %(default)s",
    )
    group.add_argument(
        "--max-batch",
        type=positive,
        metavar="N",
        help="detect up to N frames as one batch; default: 4 on GPUs, otherwise 1",
    )
    group.add_argument(
        "--max-wait-ms",
        type=positive_number,
        metavar="MS",
        help="an incomplete batch waits so long for more frames; default: 0",
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="use this Ray cluster, which is running; default: start one",
    )


def runtime_config(options: Namespace) -> RuntimeConfig:
    """The configuration of a runtime, made from the options.

    Raises:
        ConfigError: the options cannot be used, or Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"a runtime needs Ray, which cannot be imported ({error}): pip install ray"
        ) from error
    del ray
    from maskstream.pipeline.runtime import BatchLimits, ModelSpec, RuntimeConfig, SourcePolicy

    roots, schemes = getattr(options, "allow_root", None), getattr(options, "allow_scheme", None)
    for root in roots or ():
        if not root.is_dir():
            raise ConfigError(f"--allow-root {root} is not a folder")
    return RuntimeConfig(
        model=ModelSpec(options.checkpoint, options.device, options.dtype),
        limits=BatchLimits(options.max_batch, options.max_wait_ms or 0.0),
        policy=SourcePolicy(
            None if schemes is None else tuple(schemes),
            None if roots is None else tuple(str(root.resolve()) for root in roots),
            _hosts(options),
        ),
        num_detect_workers=options.detect_workers,
        num_track_workers=options.track_workers,
        spare_track_workers=options.spare_track_workers,
        max_sessions=getattr(options, "max_sessions", 32),
        ray_address=options.ray_address,
    )


def _hosts(options: Namespace) -> HostFilter | None:
    """The hosts that ``maskstream serve`` reads from. ``maskstream stream`` reads what its user
    names.
    """
    if not hasattr(options, "allow_hosts"):
        return None
    web = web_config(options)
    is_alone = options.redis is None or is_on_this_machine(options.redis)
    if web is not None:  # behind a proxy, others than this machine's programs reach it
        is_alone = is_alone and web.is_loopback and web.trusted_owner_header is None
    return HostFilter(
        tuple(options.allow_hosts or ()), for_this_machine=is_alone and not options.allow_hosts
    )


def check_model(options: Namespace) -> None:
    """See that the checkpoint and the device are there, without loading anything.

    Otherwise the workers would find out, in each session once more.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: there is no such device.
    """
    from maskstream.core.checkpoint import read_config, resolve_checkpoint
    from maskstream.detector.build import default_checkpoint
    from maskstream.pipeline.video.model import parse_device

    if options.ray_address is None:
        parse_device(options.device)
    read_config(resolve_checkpoint(options.checkpoint or default_checkpoint()))
