"""Ports for the servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A port nobody listens on, and none of those that the system gives to whoever asks for any:
    it has to be free still when the server starts later.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
