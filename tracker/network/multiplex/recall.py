"""Which frames a bucket looks back at, and how far away it takes them to be.

Conditioning frames and others are told apart by their order: of a conditioning frame that lies d
frames back the temporal row is ``last - d`` and of one farther away, or ahead, the last row; of any
other frame it is d - 1. The released weights were trained with exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskstream.tracker.network.memory_index import NO_FRAME, MemoryIndex
from maskstream.tracker.network.multiplex.config import MultiplexConfig


@dataclass(frozen=True, slots=True)
class Recall:
    """What one row of a bank gives to a frame.

    Attributes:
        map_slots: of T maps.
        frames: T frames that the maps are of.
        temporal: T temporal rows.
        pointer_slots: of P frames' pointers.
        distances: P distances of these frames, in frames.
    """

    map_slots: tuple[int, ...]
    frames: tuple[int, ...]
    temporal: tuple[int, ...]
    pointer_slots: tuple[int, ...]
    distances: tuple[int, ...]


def recall(
    index: MemoryIndex,
    row: int,
    frame_index: int,
    reverse: bool,
    reach: int,
    config: MultiplexConfig,
) -> Recall:
    """What a row gives to a frame.

    Args:
        index: of the bank.
        row: the row.
        frame_index: the frame that is looked at.
        reverse: the video is played backwards.
        reach: recent pointers reach back this many frames less one.
        config: how many conditioning frames are looked at, and how many temporal rows there are.
    """
    sign, last = (-1 if reverse else 1), config.num_maskmem - 1
    cond = index.tables["cond_frames"][row]
    selected = index.select_conditioning(np.array([row]), frame_index, config.max_cond_frame_num)
    maps: list[tuple[int, int, int]] = []
    pointers: list[tuple[int, int]] = []
    left_over: dict[int, int] = {}
    for slot, (frame, chosen) in enumerate(zip(cond.tolist(), selected[0].tolist(), strict=True)):
        if chosen:
            back = (frame_index - frame) * sign
            maps.append((slot, frame, last - back if 1 <= back <= last else last))
            pointers.append((slot, abs(frame_index - frame)))
        elif frame != NO_FRAME:
            left_over[frame] = slot
    for back in range(1, max(reach, last + 1)):
        frame = frame_index - sign * back
        map_slot, pointer_slot = index.slots_of(row, frame)
        map_slot, pointer_slot = left_over.get(frame, map_slot), left_over.get(frame, pointer_slot)
        if back <= last and map_slot is not None:
            maps.append((map_slot, frame, back - 1))
        if back < reach and pointer_slot is not None:
            pointers.append((pointer_slot, back))
    return Recall(
        map_slots=tuple(slot for slot, _, _ in maps),
        frames=tuple(frame for _, frame, _ in maps),
        temporal=tuple(row for _, _, row in maps),
        pointer_slots=tuple(slot for slot, _ in pointers),
        distances=tuple(distance for _, distance in pointers),
    )
