"""``maskstream index build``: indexes what is seen in the videos of archives."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskstream.core.errors import ConfigError
from maskstream.pipeline.cli.arguments import (
    address,
    count,
    non_negative_number,
    positive,
    positive_number,
    probability,
    rate,
)
from maskstream.pipeline.cli.signals import StopSignals

if TYPE_CHECKING:
    from maskstream.pipeline.archive.format.records import IndexSettings
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.indexer import ChunkDone
    from maskstream.pipeline.archive.indexing.pool import Pool
    from maskstream.pipeline.archive.indexing.tools import IndexingTools

_DESCRIPTION = """\
Look for things in all videos of archives and write what is seen into an index. What the index holds
already is neither read nor changed, so the same command goes on after any end.
"""


def add_build_parser(actions: Any) -> ArgumentParser:
    """Define the command's options."""
    parser: ArgumentParser = actions.add_parser(
        "build",
        help="make an index, or go on with one",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument(
        "archives",
        metavar="ARCHIVE",
        nargs="+",
        help="a folder, a video, a glob, or a manifest (.txt, .csv, .parquet); also s3://… and "
        "what else fsspec opens",
    )
    parser.add_argument(
        "--text", action="append", default=[], metavar="WORDS", help="what to look for; repeatable"
    )
    parser.add_argument(
        "--out", type=address, required=True, metavar="INDEX", help="where the index is"
    )
    add_settings_options(parser)
    add_run_options(parser)
    parser.set_defaults(run=build)
    return parser


def add_settings_options(parser: ArgumentParser) -> None:
    """Define the options that decide the rows; an index keeps them."""
    group = parser.add_argument_group("settings, which stay those of the index")
    group.add_argument(
        "--checkpoint", help="tiny (embedded), a folder, a .pt file or a hub name; default: tiny"
    )
    group.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    group.add_argument(
        "--threshold", type=probability, metavar="P", help="least score of a detection, 0 to 1"
    )
    which = group.add_mutually_exclusive_group()
    which.add_argument("--fps", type=rate, metavar="N", help="look at N frames a second")
    which.add_argument("--every-nth", type=positive, metavar="N", help="look at every N-th frame")
    which.add_argument("--keyframes", action="store_true", help="look at key frames only")
    group.add_argument(
        "--start", type=non_negative_number, metavar="S", help="begin at this second of each video"
    )
    group.add_argument(
        "--end", type=positive_number, metavar="S", help="end before this second of each video"
    )
    group.add_argument("--no-shots", action="store_true", help="do not look for cuts")
    group.add_argument(
        "--reset-at-cuts", action="store_true", help="give no identity through a cut"
    )
    group.add_argument(
        "--split-long-files",
        type=positive_number,
        metavar="S",
        help="cut longer videos into parts of S seconds that are worked on side by side; objects "
        "at a seam are joined by their masks; default: never",
    )
    group.add_argument(
        "--overlap",
        type=positive_number,
        default=2.0,
        metavar="S",
        help="how many seconds two parts share; default: %(default)s",
    )
    group.add_argument(
        "--chunk-s",
        type=positive_number,
        default=30.0,
        metavar="S",
        help="after a death no more than this is done again; default: %(default)s seconds of video",
    )


def add_run_options(parser: ArgumentParser) -> None:
    """Define the options of a run, which decide no rows."""
    group = parser.add_argument_group("run")
    group.add_argument("--device", help="cpu, cuda …; default: CUDA where there is one")
    group.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="processes that work, on all machines together; 0: this one alone, without Ray; "
        "default: one for each GPU, else one for each core",
    )
    group.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help='a Ray cluster to run on, or "auto"; default: start Ray on this machine',
    )
    group.add_argument(
        "--in-hand",
        type=positive,
        default=1,
        metavar="N",
        help="videos that a worker has in hand at once; on a GPU 4 fill it better; "
        "default: %(default)s",
    )
    group.add_argument(
        "--retry-failures", action="store_true", help="try again what has failed before"
    )
    group.add_argument(
        "--max-deaths",
        type=positive,
        default=3,
        metavar="N",
        help="a video is given up when its worker has died N times while it had nothing else in "
        "hand; default: %(default)s",
    )
    group.add_argument(
        "--wait",
        type=count,
        default=0,
        metavar="S",
        help="wait so long for another build on the index; default: be refused at once",
    )
    group.add_argument("--json", action="store_true", help="print progress as lines of JSON")
    group.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="keep counters in FILE, in the text format of Prometheus",
    )


def build(options: Namespace) -> int:
    """Run the command.

    Returns:
        0; 128 + the signal's number if a signal stopped it.

    Raises:
        MaskstreamError: see ``build_index``.
    """
    from maskstream.pipeline.archive.indexing.tools import checkpoint_digest

    settings = settings_of(options, checkpoint_digest(options.checkpoint))
    return run_build(options, options.archives, options.text, options.out, settings)


def settings_of(options: Namespace, digest: str) -> IndexSettings:
    """The settings that the options ask for.

    Raises:
        ConfigError: they contradict each other.
    """
    from maskstream.pipeline.archive.format.records import IndexSettings, Sampling

    if options.split_long_files is not None:
        if options.overlap >= options.split_long_files:
            raise ConfigError("--overlap is not shorter than the parts of --split-long-files")
        if options.fps is not None and options.overlap * options.fps < 4:
            raise ConfigError(
                f"at --fps {options.fps:g} parts need a longer --overlap, for 4 frames"
            )
    if options.start is not None and options.end is not None and options.end <= options.start:
        raise ConfigError(f"--end {options.end} is not behind --start {options.start}")
    return IndexSettings(
        checkpoint=digest,
        dtype=options.dtype,
        score_threshold=options.threshold,
        sampling=Sampling(
            fps=options.fps,
            every_nth=options.every_nth,
            keyframes=options.keyframes,
            start_s=options.start,
            end_s=options.end,
        ),
        detect_shots=not options.no_shots,
        reset_at_cuts=options.reset_at_cuts,
        chunk_s=options.chunk_s,
        split_longer_than_s=options.split_long_files,
        overlap_s=options.overlap,
    )


def run_build(
    options: Namespace, archives: list[str], texts: list[str], out: str, settings: IndexSettings
) -> int:
    """Build; shared with ``index add``."""
    from maskstream.detector.build import default_checkpoint
    from maskstream.pipeline.archive.format.records import IndexHead
    from maskstream.pipeline.archive.format.storage import Storage
    from maskstream.pipeline.archive.indexing.building import BuildRules, build_index
    from maskstream.pipeline.archive.indexing.versions import code_version
    from maskstream.pipeline.cli.index_metrics import MetricsFile, WatchGroup
    from maskstream.pipeline.cli.index_progress import BuildPrinter

    storage = Storage(out)
    head = IndexHead(
        created_by=f"maskstream {code_version()}",
        checkpoint_name=options.checkpoint or default_checkpoint(),
        settings=settings,
    )
    workers = _Workers(options, settings, storage)
    metrics = [] if options.metrics is None else [MetricsFile(options.metrics)]
    with StopSignals() as signals, BuildPrinter(as_json=options.json) as printer:
        result = build_index(
            archives,
            texts,
            storage,
            head,
            load=workers.load,
            open_pool=workers.open_pool,
            rules=BuildRules(options.retry_failures, options.max_deaths, float(options.wait)),
            watch=WatchGroup([printer, *metrics]),
            must_stop=lambda: signals.received is not None,
        )
        printer.close_with(result)
    return signals.exit_code if result.left else 0


class _Workers:
    """The model in this process, and the pool that the options ask for."""

    def __init__(self, options: Namespace, settings: IndexSettings, storage: Storage) -> None:
        self._options = options
        self._settings = settings
        self._storage = storage
        self._tools: IndexingTools | None = None
        self._how = {
            "checkpoint": options.checkpoint,
            "device": options.device,
            "dtype": settings.dtype,
            "score_threshold": settings.score_threshold,
        }

    def load(self) -> IndexingTools:
        """The model, loaded once."""
        from maskstream.pipeline.archive.indexing.tools import load_tools

        if self._tools is None:
            self._tools = load_tools(**self._how)
        return self._tools

    def open_pool(self, tell: Callable[[ChunkDone], None], must_stop: Callable[[], bool]) -> Pool:
        """This process, or actors on Ray."""
        options = self._options
        if options.workers == 0:
            from maskstream.pipeline.archive.indexing.pool import InProcessPool

            return InProcessPool(
                self._settings,
                self._storage,
                self.load(),
                in_hand=options.in_hand,
                tell=tell,
                must_stop=must_stop,
            )
        from maskstream.pipeline.archive.indexing.ray_pool import RayPool, RayPoolConfig

        config = RayPoolConfig(
            num_workers=options.workers,
            in_hand=options.in_hand,
            ray_address=options.ray_address,
            options=self._how,
        )
        return RayPool(self._settings, self._storage, config, tell=tell, must_stop=must_stop)
