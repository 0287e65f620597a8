"""``maskstream serve``: runs a runtime, which serves the sessions of clients."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from maskstream.core.errors import RuntimeFailedError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.cli.arguments import positive
from maskstream.pipeline.cli.connecting import add_store_options
from maskstream.pipeline.cli.runtime_options import (
    add_runtime_options,
    check_model,
    runtime_config,
)
from maskstream.pipeline.cli.web import open_web
from maskstream.pipeline.cli.web_options import add_web_options, web_config
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.store import ServiceLimits, SessionStore, open_store

if TYPE_CHECKING:
    from maskstream.pipeline.runtime import Runtime, RuntimeConfig
    from maskstream.pipeline.web.config import WebConfig

_LOOK_EVERY_S = 0.5


def add_serve_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "serve",
        help="run sessions for clients on this machine or a Ray cluster",
        description="Serve sessions until Ctrl-C. Without --redis it starts an embedded server, "
        "prints its address for clients, and ends the server when it ends.",
        allow_abbrev=False,
    )
    add_store_options(
        parser,
        url_help="the Redis or Valkey that clients use too; default: start an embedded server",
    )
    parser.add_argument(
        "--persist",
        type=Path,
        metavar="DIR",
        help="keep the data of the embedded server in DIR, so that sessions survive a restart",
    )
    add_runtime_options(parser)
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-sessions", type=positive, default=32, metavar="N", help="default: %(default)s"
    )
    group.add_argument(
        "--max-sessions-per-owner", type=positive, metavar="N", help="default: --max-sessions"
    )
    group.add_argument(
        "--allow-root",
        type=Path,
        action="append",
        metavar="DIR",
        help="open files in this folder only; may be given several times; default: anywhere",
    )
    group.add_argument(
        "--allow-scheme",
        action="append",
        metavar="SCHEME",
        help="open URLs of this scheme only; may be given several times; default: rtsp, rtsps, "
        "http, https, file, v4l2",
    )
    group.add_argument(
        "--allow-hosts",
        action="append",
        metavar="HOSTS",
        help="read from these hosts too, though they are not public: a name, in which * and ? may "
        "stand, an address, or a range such as 10.1.0.0/16; may be given several times. Link-local "
        "addresses are never read from. Default: any, unless --redis or --http names more than "
        "this machine; then public hosts only",
    )
    add_web_options(parser, is_required=False)
    parser.set_defaults(run=serve)


def serve(options: Namespace) -> int:
    """Run the command.

    Returns:
        128 + the signal that ended it.

    Raises:
        ConfigError: an option cannot be used.
        StoreError: the store cannot be reached or started.
    """
    config = runtime_config(options)
    config.policy.live_config(SessionOptions())  # fails on a scheme or folder that does not exist
    web = web_config(options)
    check_model(options)
    store = open_store(options.redis, options.namespace, persistence_dir=options.persist)
    try:
        per_owner = options.max_sessions_per_owner or options.max_sessions
        store.set_service_limits(
            ServiceLimits(
                max_sessions=options.max_sessions,
                max_sessions_per_owner=min(per_owner, options.max_sessions),
            )
        )
        return _serve(store, config, web, options)
    finally:
        store.close()


def _serve(
    store: SessionStore, config: RuntimeConfig, web: WebConfig | None, options: Namespace
) -> int:
    from maskstream.pipeline.runtime import Runtime

    told = [f"serving at {redact_url(store.url or '')}"]
    if options.redis is None:
        told.append(f"clients: maskstream sessions --redis {store.url}")
    runtime = Runtime(store, config, namespace=options.namespace)
    return serve_until_stopped(runtime, store, told, web)


def serve_until_stopped(
    runtime: Runtime, store: SessionStore, told: Sequence[str], web: WebConfig | None = None
) -> int:
    """Start a runtime, and serve until Ctrl-C or SIGTERM.

    If the runtime can serve no more, its log says why in one line, and this process exits with 1.

    Args:
        told: printed once sessions are served.
        web: how the web service is reached; None: there is none.

    Returns:
        128 + the signal that ended it.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    received: list[signal.Signals] = []
    is_over = threading.Event()

    def stop(number: int, _: object) -> None:
        received.append(signal.Signals(number))
        is_over.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)  # the second signal kills

    previous = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not is_over.is_set():
            runtime.start()
        for line in told:
            print(line, flush=True)
        with ExitStack() as stack:
            if web is not None and not is_over.is_set():
                stack.enter_context(open_web(Client(store), web))
            while not is_over.is_set():
                runtime.wait(_LOOK_EVERY_S)
        print("stopping; sessions are left as they are", file=sys.stderr)
    except RuntimeFailedError:  # the runtime has logged it
        _leave(runtime, store)
    finally:
        runtime.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else 0


def _leave(runtime: Runtime, store: SessionStore) -> NoReturn:
    """End this process with 1, without Ray, which may hold up its end."""
    runtime.close()
    store.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
