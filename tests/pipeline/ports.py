"""Ports for the servers of tests."""

from __future__ import annotations

import contextlib
import os
import random
import socket

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)
"""None of those that the system gives to whoever asks for any."""
_PROCESSES = 16


def free_port() -> int:
    """A port nobody listens on, and that is free still when a server starts later: other test
    processes beside this one look among others.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = _PORTS[process % _PROCESSES :: _PROCESSES]
    while True:
        port = random.choice(own)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
