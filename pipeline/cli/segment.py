"""``maskstream segment``: follows what prompts describe through files, and writes the results."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable

from maskstream.core.errors import InputError, MaskstreamError, PromptError, SourceError
from maskstream.pipeline.cli.segment_run import Segmenter, SegmentRun
from maskstream.pipeline.cli.source_list import Job, plan_jobs
from maskstream.pipeline.cli.typed_prompts import parse_prompts
from maskstream.pipeline.sources import FrameSource, open_source

LoadSegmenter = Callable[[Namespace], Segmenter]


def load_segmenter(options: Namespace) -> Segmenter:
    """The real segmenter. It is imported here, since it imports torch."""
    from maskstream.pipeline.video.segmenter import VideoSegmenter

    return VideoSegmenter.from_checkpoint(
        options.checkpoint,
        device=options.device,
        dtype=options.dtype,
        latency=options.latency,
        score_threshold=options.score_threshold,
    )


def segment(options: Namespace, load: LoadSegmenter = load_segmenter) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 128 + the signal that stopped it; of several sources, 1 if one failed.

    Raises:
        MaskstreamError: something went wrong. The files that were begun are complete.
    """
    _check_font(options.font)
    jobs = plan_jobs(options)
    segmenters = _Segmenters(options, load)
    if len(jobs) == 1:
        return _segment(options, jobs[0], segmenters)
    code = 0
    for job in jobs:
        print(f"{job.source}:", flush=True)
        try:
            stopped = _segment(options, job, segmenters)
        except PromptError:
            raise  # what was typed; it would be wrong for the others too
        except MaskstreamError as error:
            print(f"maskstream: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            code = 1
        else:
            if stopped:
                return stopped
    return code


class _Segmenters:
    """Loads the model once, and gives it to one source after the other."""

    def __init__(self, options: Namespace, load: LoadSegmenter) -> None:
        self._options = options
        self._load = load
        self._segmenter: Segmenter | None = None

    def fresh(self) -> Segmenter:
        """The segmenter, without prompts and objects."""
        if self._segmenter is None:
            self._segmenter = self._load(self._options)
        else:
            self._segmenter.reset()
        return self._segmenter


def _segment(options: Namespace, job: Job, segmenters: _Segmenters) -> int:
    with _open(options, job.source) as source:
        prompts = parse_prompts(options, source.info.width, source.info.height)
        return SegmentRun(options, source, prompts, job.output).write(segmenters.fresh)


def _open(options: Namespace, name: str) -> FrameSource:
    try:
        return open_source(name, fps=options.fps)
    except SourceError as error:
        raise InputError(str(error)) from error


def _check_font(font: str | None) -> None:
    if font is None:
        return
    from PIL import ImageFont

    try:
        ImageFont.truetype(font, 12)
    except OSError as error:
        raise InputError(f"--font {font} cannot be read: {error}") from error
