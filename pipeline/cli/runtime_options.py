"""The options of a runtime of one's own, for ``maskstream serve`` and ``maskstream stream``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from maskstream.core.errors import ConfigError
from maskstream.pipeline.cli.arguments import count, positive, positive_number

if TYPE_CHECKING:
    from maskstream.pipeline.runtime import RuntimeConfig


def add_runtime_options(parser: ArgumentParser) -> None:
    """How a runtime of one's own is built."""
    group = parser.add_argument_group("runtime")
    group.add_argument(
        "--checkpoint", help="tiny (embedded), a folder, a .pt file or a hub name; default: tiny"
    )
    group.add_argument("--device", help="cpu, cuda …; default: CUDA where there is one")
    group.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    group.add_argument(
        "--detect-workers", type=count, metavar="N", help="default: one; on GPUs as they fit"
    )
    group.add_argument(
        "--track-workers", type=positive, metavar="N", help="default: one, or one for each GPU"
    )
    group.add_argument(
        "--spare-track-workers",
        type=count,
        default=0,
        metavar="N",
        help="that stand by with their models loaded, so that sessions go on at once when a track "
        "worker dies; default: %(default)s",
    )
    group.add_argument(
        "--max-batch",
        type=positive,
        metavar="N",
        help="frames detected as one; default: 4 on GPUs, 1 without",
    )
    group.add_argument(
        "--max-wait-ms",
        type=positive_number,
        metavar="MS",
        help="how long an incomplete batch waits for more frames; default: it does not",
    )
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="a running Ray cluster; default: one of its own"
    )


def runtime_config(options: Namespace) -> RuntimeConfig:
    """The options as a runtime takes them.

    Raises:
        ConfigError: they cannot be used, or Ray is not installed.
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
        ),
        num_detect_workers=options.detect_workers,
        num_track_workers=options.track_workers,
        spare_track_workers=options.spare_track_workers,
        max_sessions=getattr(options, "max_sessions", 32),
        ray_address=options.ray_address,
    )


def check_model(options: Namespace) -> None:
    """Load nothing, but see that the checkpoint and the device are there: workers that find out
    would do so one session at a time.

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
