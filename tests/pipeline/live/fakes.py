"""Connections that do what a test tells them, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskstream.pipeline.live import FaultKind, LiveConfig, LiveSourceError, SourceAddress
from maskstream.pipeline.live.reader import Connection
from tests.pipeline.clips import numbered_image


@dataclass(frozen=True)
class FakeFrame:
    """A numbered picture."""

    number: int = 0
    pts_s: float | None = None
    size: tuple[int, int] = (80, 48)
    is_corrupt: bool = False
    is_broken: bool = False

    def to_rgb(self) -> NDArray[np.uint8] | None:
        return None if self.is_broken else numbered_image(self.number, *self.size)


class FakeConnection:
    """Gives frames; raises at a fault; blocks at an event, as FFmpeg does, until it is set."""

    codec = "fake"
    is_clocked = True

    def __init__(
        self,
        address: SourceAddress,
        steps: Sequence[FakeFrame | FaultKind | threading.Event],
        *,
        is_live: bool = True,
    ) -> None:
        self.is_live = is_live
        self.is_closed = False
        self.num_bad_packets = 0
        self._address = address
        self._steps = steps

    def frames(self) -> Generator[FakeFrame, None, None]:
        for step in self._steps:
            if isinstance(step, FakeFrame):
                yield step
            elif isinstance(step, FaultKind):
                raise LiveSourceError.of(step, self._address, "as told")
            else:
                step.wait(60)

    def close(self) -> None:
        self.is_closed = True


class FakeConnector:
    """Answers the n-th attempt with the n-th script, and all later ones with the last."""

    def __init__(
        self, *scripts: Callable[[SourceAddress], FakeConnection] | FaultKind | threading.Event
    ) -> None:
        self._scripts = scripts
        self.addresses: list[str] = []
        self.connections: list[FakeConnection] = []

    def __call__(self, address: SourceAddress, config: LiveConfig) -> Connection:
        script = self._scripts[min(len(self.addresses), len(self._scripts) - 1)]
        self.addresses.append(address.reveal())
        if isinstance(script, threading.Event):
            script.wait(60)
            raise LiveSourceError.of(FaultKind.TIMED_OUT, address, "as told")
        if isinstance(script, FaultKind):
            raise LiveSourceError.of(script, address, "as told")
        connection = script(address)
        self.connections.append(connection)
        return connection


def playing(
    *steps: FakeFrame | FaultKind | threading.Event, is_live: bool = True
) -> Callable[[SourceAddress], FakeConnection]:
    """A script for one connection."""
    return lambda address: FakeConnection(address, steps, is_live=is_live)


def numbered(*numbers: int) -> list[FakeFrame]:
    """Frames at 25 a second."""
    return [FakeFrame(number, number / 25) for number in numbers]
