"""``maskstream web``: the web service alone, beside runtimes; ``web-token`` makes tokens for it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from types import FrameType
from typing import Any

from maskstream.core.errors import ConfigError
from maskstream.pipeline.cli.connecting import add_store_options, open_client
from maskstream.pipeline.cli.web_options import add_web_options, web_config
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.web.app import build_app
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.server import WebServer
from maskstream.pipeline.web.tokens import make_token


def add_web_parser(commands: Any) -> None:
    """Define the options of both commands."""
    parser: ArgumentParser = commands.add_parser(
        "web",
        help="serve HTTP for sessions that runtimes elsewhere serve",
        description="Serve the session API over HTTP until Ctrl-C. The sessions are served by "
        "runtimes (maskstream serve) on the same store; any number of web services may run.",
        allow_abbrev=False,
    )
    add_store_options(parser)
    add_web_options(parser, is_required=True)
    parser.set_defaults(run=web)
    token = commands.add_parser(
        "web-token",
        help="make a token for the web service",
        description="Print a new token to standard error and its line for --tokens to standard "
        "output: maskstream web-token ann >>tokens",
        allow_abbrev=False,
    )
    token.add_argument("owner", metavar="OWNER", help="whose token it is; one word")
    token.add_argument("--admin", action="store_true", help="it may use everybody's sessions")
    token.set_defaults(run=web_token, debug=False)


def web(options: Namespace) -> int:
    """Run the command.

    Returns:
        128 + the signal that ended it.

    Raises:
        ConfigError: an option cannot be used.
        StoreError: the store cannot be reached.
    """
    config = web_config(options)
    if config is None:
        raise ConfigError("--http says where to serve")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    received: list[int] = []
    is_over = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        is_over.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    with open_web(open_client(options), config) as server:
        while not is_over.wait(0.5):
            if not server.is_alive:
                raise ConfigError("the web service has ended; the log above says why")
    return 128 + received[0]


def open_web(client: Client, config: WebConfig) -> WebServer:
    """Serve HTTP, and say where.

    Raises:
        ConfigError: the address, the tokens or the certificate cannot be used.
    """
    server = WebServer(build_app(client, config), config)
    scheme = "http" if config.tls_cert is None else "https"
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"web: {scheme}://{host}:{server.port}/", flush=True)
    return server


def web_token(options: Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: the owner's name cannot be used.
    """
    token, line = make_token(options.owner, is_admin=options.admin)
    print(f"token of {options.owner}, shown this once: {token}", file=sys.stderr)
    print(line)
    return 0
