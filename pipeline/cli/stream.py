"""``maskstream stream``: follows things in a stream, a camera or a file while it runs."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from maskstream.core.errors import InputError, SessionError, StoreError
from maskstream.pipeline.api.options import MAX_QUEUE_SIZE, PUSHED_SOURCE, source_kind
from maskstream.pipeline.api.requests import (
    PropagateInVideo,
    StartSession,
    StreamResults,
)
from maskstream.pipeline.cli.arguments import count, positive, positive_number, probability
from maskstream.pipeline.cli.connecting import add_store_options, open_client
from maskstream.pipeline.cli.prompt import send_prompts
from maskstream.pipeline.cli.pushing import FramePusher
from maskstream.pipeline.cli.runtime_options import (
    add_runtime_options,
    check_model,
    runtime_config,
)
from maskstream.pipeline.cli.signals import StopSignals
from maskstream.pipeline.cli.source_watch import SourceWatch
from maskstream.pipeline.cli.stream_plan import Plan, make_plan
from maskstream.pipeline.cli.stream_sinks import StreamSinks
from maskstream.pipeline.cli.stream_table import StreamTable
from maskstream.pipeline.cli.summary import RunSummary, print_summary
from maskstream.pipeline.cli.typed_prompts import TypedPrompt, add_prompt_options
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.client.result_reader import Entries
from maskstream.pipeline.store import open_store

_STOP_TIMEOUT_S = 15.0
_HOT_START_FRAMES = 15


def add_stream_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "stream",
        help="follow things in a stream, a camera or a file while it runs",
        description="Follow things in an RTSP or HTTP stream, a camera (/dev/video0) or a file. "
        "Without --redis it starts a runtime of its own. After Ctrl-C the files are complete.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="URL, camera, video file or folder")
    add_prompt_options(parser)
    _add_session_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", help="write results.jsonl here")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier run, all of them; otherwise they are in the way",
    )
    group.add_argument(
        "--overlay",
        action="store_true",
        help="also write overlay videos, in segments; then the frames of a stream are read by this "
        "command and pushed into the session as JPEG",
    )
    group.add_argument(
        "--segment-s",
        type=positive_number,
        default=60.0,
        metavar="S",
        help="the length of a segment; default: 60",
    )
    group.add_argument(
        "--keep-segments",
        type=positive,
        metavar="N",
        help="keep the newest N segments; default: all",
    )
    add_runtime_options(parser)
    add_store_options(parser, url_help="the store of a running runtime; default: start a runtime")
    parser.set_defaults(run=stream)


def _add_session_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("session")
    add = group.add_argument
    add("--latency", choices=("delayed", "live"), help="delayed: 15 frames late; live: at once")
    add(
        "--target-fps", type=positive_number, metavar="FPS", help="take at most FPS frames a second"
    )
    add("--every-nth", type=positive, metavar="N", help="take frames 0, N, 2N …")
    add("--queue-size", type=positive, metavar="N", help="N frames may wait; default: 8")
    add("--stale-after-s", type=positive_number, metavar="S", help="drop frames that waited longer")
    add("--loop", action="store_true", default=None, help="begin a file again at its end")
    add("--region", type=_region, metavar="X,Y,W,H", help="look at this part only, normalised")
    add("--transport", choices=("tcp", "udp"), help="how RTSP carries its packets; default: tcp")
    add("--start-frame", type=count, metavar="N", help="begin a file at frame N")
    add("--max-frames", type=positive, metavar="N", help="end after N frames")
    add("--score-threshold", type=probability, metavar="P", help="the least score of a detection")
    add(
        "--max-reconnect-s",
        type=positive_number,
        metavar="S",
        help="give up after S seconds without a frame; default: never",
    )
    add("--owner", help="the owner of the session")


def stream(options: Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 128 + the signal that stopped it.

    Raises:
        MaskstreamError: something went wrong. The files that were begun are complete.
    """
    if options.overlay and options.out is None:
        raise InputError("--overlay needs --out DIR to write to")
    plan = make_plan(options)
    with ExitStack() as stack:
        sinks = stack.enter_context(StreamSinks(options, plan.drives))
        client = stack.enter_context(_service(options))
        run = _Run(options, plan, client, sinks)
        return run.run()


@contextmanager
def _service(options: Namespace) -> Iterator[Client]:
    """A client of the given runtime, or of one that runs as long as this context."""
    if options.redis is not None:
        with open_client(options) as client:
            yield client
        return
    config = runtime_config(options)
    check_model(options)
    from maskstream.pipeline.runtime import Runtime

    store = open_store(None, options.namespace)
    try:
        with Runtime(store, config, namespace=options.namespace):
            # The workers load the model first, which can take minutes.
            yield Client(store, start_timeout_s=600.0, answer_timeout_s=300.0)
    finally:
        store.close()


class _Run:
    """One session from its start to its end."""

    def __init__(self, options: Namespace, plan: Plan, client: Client, sinks: StreamSinks) -> None:
        self._options = options
        self._plan = plan
        self._client = client
        self._sinks = sinks
        self._summary = RunSummary()
        self._session_id = ""
        self._pusher: FramePusher | None = None
        self._stop_by_s: float | None = None

    def run(self) -> int:
        """Start the session, follow it, close it; returns the exit code."""
        started_s = time.monotonic()
        self._session_id = self._start()
        try:
            with StopSignals(self._sinks.leave) as signals:
                self._follow(signals)
            self._sinks.close()
            print_summary(self._summary, self._sinks.paths, time.monotonic() - started_s)
            return signals.exit_code
        finally:
            self._close()

    def _start(self) -> str:
        request, plan = self._plan.request, self._plan
        if plan.pushes:
            # This process reads the source, so it also samples and crops.
            given = {"latency", "queue_size", "score_threshold", "owner", "max_frames"}
            fields = request.model_dump(include=given & request.model_fields_set)
            if source_kind(self._options.source) == "file":
                fields["queue_size"] = self._ahead()  # no frame of a file is dropped
            request = StartSession(type="start_session", resource_path=PUSHED_SOURCE, **fields)
        session_id: str = self._client.answer(request)["session_id"]
        return session_id

    def _follow(self, signals: StopSignals) -> None:
        plan, options = self._plan, self._options
        console = Console(stderr=True, highlight=False)
        with ExitStack() as stack:
            if not plan.drives:
                config = plan.request.options.to_live_config()
                watch = SourceWatch(self._client, self._session_id, config, console)
                stack.enter_context(watch)
            if plan.drives:
                self._prompt(plan.prompts, options.start_frame or 0)
            elif plan.pushes:
                self._prompt([item for item in plan.prompts if not item.needs_frame])
                self._pusher = stack.enter_context(self._open_pusher())
                self._sinks.pictures = self._pusher
                watch.source = self._pusher.source
                self._prompt([item for item in plan.prompts if item.needs_frame])
            else:
                self._prompt(plan.prompts)
            entries = self._entries(signals)
            stack.callback(entries.close)
            table = stack.enter_context(StreamTable(self._client, self._session_id, console))
            for entry, _ in entries:
                result = self._sinks.write(entry)
                self._summary.add(result)
                table.show(entry)
        if self._pusher is not None and self._pusher.error is not None:
            raise self._pusher.error

    def _prompt(self, prompts: list[TypedPrompt], first_frame: int | None = None) -> None:
        send_prompts(
            self._client,
            self._session_id,
            prompts,
            first_frame=first_frame,
            summary=self._summary,
        )

    def _open_pusher(self) -> FramePusher:
        request = self._plan.request
        return FramePusher(
            self._client,
            self._session_id,
            request.resource_path,
            request.options.to_live_config(),
            self._ahead(),
        )

    def _ahead(self) -> int:
        """How many frames may be in the session; delayed results come 15 frames late."""
        request = self._plan.request
        held = _HOT_START_FRAMES if request.latency == "delayed" else 0
        return min(request.queue_size + held, MAX_QUEUE_SIZE)

    def _entries(self, signals: StopSignals) -> Entries:
        session_id, options = self._session_id, self._options

        def is_stopped() -> bool:
            return self._is_stopped(signals)

        if self._plan.drives:
            propagate = PropagateInVideo(
                type="propagate_in_video",
                session_id=session_id,
                propagation_direction="forward",
                start_frame_index=options.start_frame or 0,
                # A number of frames; the request says how far the last is from the first.
                max_frame_num_to_track=options.max_frames and options.max_frames - 1,
            )
            return _watched(self._client.entries(propagate, is_stopped), is_stopped)
        follow = StreamResults(type="stream_results", session_id=session_id)
        return _watched(self._client.entries(follow, is_stopped), is_stopped)

    def _is_stopped(self, signals: StopSignals) -> bool:
        """After a signal, cancel the session; True when it has not ended in time."""
        if signals.received is None:
            return False
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + _STOP_TIMEOUT_S
            if self._pusher is not None:
                self._pusher.stop()
            self._client.journal.cancel_quietly(self._session_id)
        return time.monotonic() > self._stop_by_s

    def _close(self) -> None:
        request = {"type": "close_session", "session_id": self._session_id}
        try:
            self._client.handle_request(request)
        except (SessionError, StoreError):
            return  # the session is gone already, or the store is out of reach


def _watched(entries: Entries, is_stopped: Any) -> Entries:
    """The entries, until ``is_stopped``, which is asked after each one.

    The client asks it only while it waits for a result.
    """
    try:
        for found in entries:
            yield found
            if is_stopped():
                return
    finally:
        entries.close()


def _region(value: str) -> list[float]:
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ArgumentTypeError(f"{value!r} is not X,Y,W,H")
    return numbers
