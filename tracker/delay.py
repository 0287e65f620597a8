"""From frames as they are tracked to frames that nothing later will take back.

Live output gives every :class:`maskstream.tracker.tracked_frame.TrackedFrame` at once: young
masklets are provisional in it, and later frames say in ``newly_confirmed`` and ``newly_removed``
what became of them. Delayed output, here, holds every frame until hot start has decided on all that
is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from maskstream.tracker.lifecycle import MaskletState
from maskstream.tracker.tracked_frame import TrackedFrame


class Delay:
    """Holds frames back until their masklets are settled, and leaves the withdrawn ones out.

    A frame comes out as soon as one ``hotstart_delay - 1`` frames on has gone in. What it then
    says is final: masklets that were withdrawn meanwhile are not in it, and the others are
    confirmed (from their first frame on). It never holds ``hotstart_delay`` frames or more.

    Args:
        hotstart_delay: as in :class:`maskstream.tracker.video_config.VideoConfig`. 0 turns this
            into live output: frames go through as they are.
    """

    def __init__(self, hotstart_delay: int) -> None:
        self._delay = hotstart_delay
        self._held: deque[TrackedFrame] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def push(self, frame: TrackedFrame) -> list[TrackedFrame]:
        """Put the next frame in; returns the frames that are ready, in order."""
        if self._delay == 0:
            return [frame]
        self._hide(set(frame.newly_removed))
        self._held.append(frame)
        ready = []
        while self._held and self._is_ready(self._held[0], frame.frame_index):
            ready.append(_final(self._held.popleft()))
        return ready

    def flush(self) -> list[TrackedFrame]:
        """The frames still held, at the end of a video or before the direction changes."""
        ready = [_final(frame) for frame in self._held]
        self._held.clear()
        return ready

    def hide(self, obj_id: int) -> None:
        """Leave an object out of the frames still held; for one that a user has removed."""
        self._hide({obj_id})

    def state_dict(self) -> list[dict[str, Any]]:
        """The frames held, as tensors on the CPU and plain data."""
        return [frame.state_dict() for frame in self._held]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]], device: torch.device) -> None:
        """Undo :meth:`state_dict`.

        Raises:
            CheckpointError: a frame is malformed; nothing is changed.
        """
        self._held = deque(TrackedFrame.from_state_dict(frame, device) for frame in state)

    def _is_ready(self, frame: TrackedFrame, newest: int) -> bool:
        return abs(newest - frame.frame_index) >= self._delay - 1 or len(self._held) >= self._delay

    def _hide(self, obj_ids: set[int]) -> None:
        if not obj_ids:
            return
        self._held = deque(
            frame.select([row for row, obj_id in enumerate(frame.obj_ids) if obj_id not in obj_ids])
            for frame in self._held
        )


def _final(frame: TrackedFrame) -> TrackedFrame:
    """The frame as it stands for good. Nobody has seen what was withdrawn, so it is not told."""
    return replace(
        frame,
        states=[
            MaskletState.CONFIRMED if state is MaskletState.PROVISIONAL else state
            for state in frame.states
        ],
        newly_removed=[],
        newly_confirmed=[
            obj_id
            for obj_id, first in zip(frame.obj_ids, frame.first_frames, strict=True)
            if first == frame.frame_index
        ],
    )
