"""The options of the web service, for ``serve`` and ``web``."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from maskstream.pipeline.cli.arguments import positive
from maskstream.pipeline.web.config import WebConfig

TOKEN_VARIABLE = "MASKSTREAM_TOKEN"


def add_web_options(parser: ArgumentParser, *, is_required: bool) -> None:
    """Define the options."""
    group = parser.add_argument_group("web service")
    group.add_argument(
        "--http",
        type=_address,
        metavar="HOST:PORT",
        required=is_required,
        help="serve HTTP here, such as 127.0.0.1:8000; other addresses than this machine's own "
        "need tokens",
    )
    group.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="who may use the service; maskstream web-token makes the lines; the token in "
        f"${TOKEN_VARIABLE} is an administrator's",
    )
    group.add_argument(
        "--uploads", type=Path, metavar="DIR", help="take uploads, into a folder that exists"
    )
    group.add_argument("--max-upload-mb", type=positive, default=4096, metavar="N")
    group.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with this certificate"
    )
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key")
    group.add_argument(
        "--owner-header",
        metavar="NAME",
        help="the header in which a proxy in front names the caller it has checked",
    )


def web_config(options: Namespace) -> WebConfig | None:
    """The configuration that the options say; None without ``--http``.

    Raises:
        ConfigError: the options do not fit together.
    """
    if options.http is None:
        return None
    host, port = options.http
    return WebConfig(
        host=host,
        port=port,
        tokens_file=options.tokens,
        admin_token=os.environ.get(TOKEN_VARIABLE) or None,
        trusted_owner_header=options.owner_header,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        uploads=None if options.uploads is None else options.uploads.resolve(),
        max_upload_bytes=options.max_upload_mb * 2**20,
    )


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ArgumentTypeError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)
