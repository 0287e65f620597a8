"""Translates between the frame numbers of the tracker and the frame indices of the source."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from maskstream.pipeline.api.results import FrameResult

_MAX_RECENT = 1024
_MAX_OBJECTS = 10_000


class FrameNumbers:
    """Gives consecutive numbers to frames whose indices have gaps, and translates results back.

    A tracker remembers a fixed number of recent frames *by number*. If it used the decoder's
    indices, every frame that sampling leaves out would take the place of a memory.

    Bounded: it keeps the newest 1,024 numbers, and the first frames of the 10,000 objects seen
    last.
    """

    def __init__(self) -> None:
        self._next = 0
        self._indices: OrderedDict[int, int] = OrderedDict()
        self._beginnings: OrderedDict[int, int] = OrderedDict()

    def number(self, index: int) -> int:
        """Give the next number to the frame with the decoder's ``index``."""
        number = self._next
        self._next += 1
        self._indices[number] = index
        if len(self._indices) > _MAX_RECENT:
            self._indices.popitem(last=False)
        return number

    def translate(self, result: FrameResult) -> FrameResult:
        """Returns a result with the decoder's indices; its frame must be among the newest 1,024."""
        index = self._indices[result.frame_index]
        begun = [
            self._beginning(obj_id, number, index)
            for obj_id, number in zip(
                result.obj_ids.tolist(), result.first_frames.tolist(), strict=True
            )
        ]
        return replace(result, frame_index=index, first_frames=np.array(begun, np.int64))

    def to_state(self) -> dict[str, Any]:
        """JSON values for a checkpoint; ``from_state`` undoes it."""
        return {
            "next": self._next,
            "indices": [[number, index] for number, index in self._indices.items()],
            "beginnings": [[obj_id, index] for obj_id, index in self._beginnings.items()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FrameNumbers:
        """Restore the numbers from a checkpoint."""
        numbers = cls()
        numbers._next = int(state["next"])
        numbers._indices.update((int(a), int(b)) for a, b in state["indices"])
        numbers._beginnings.update((int(a), int(b)) for a, b in state["beginnings"])
        return numbers

    def _beginning(self, obj_id: int, number: int, now: int) -> int:
        begun = self._beginnings.pop(obj_id, None)
        if begun is None:
            begun = self._indices.get(number, now)
        self._beginnings[obj_id] = begun
        if len(self._beginnings) > _MAX_OBJECTS:
            self._beginnings.popitem(last=False)
        return begun
