"""How the certificates of servers are checked."""

from __future__ import annotations

import ssl

from maskstream.pipeline.live.config import LiveConfig


def tls_context(config: LiveConfig) -> ssl.SSLContext:
    """The settings of our own connections by TLS."""
    ca_file = None if config.tls_ca_file is None else str(config.tls_ca_file)
    context = ssl.create_default_context(cafile=ca_file)
    if not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
