"""SAM 3.0's memory bank: what every masklet of a session remembers, a row each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskstream.core.errors import SessionError
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.frame_bank import FrameBank, Rows


@dataclass(frozen=True, slots=True)
class MemoryBatch:
    """What N masklets remember, as memory attention takes it. Valid entries come first in a row.

    Attributes:
        maps: (N, T, h*w, M), memory maps; T is the most that any of the masklets has.
        map_offsets: (N, T) int64, 0 = conditioning frame, else how many frames back, from 1 to
            num_maskmem - 1.
        map_valid: (N, T) bool.
        pointers: (N, P, C), object pointers.
        pointer_offsets: (N, P) float, distance in frames ÷ (max_object_pointers_in_encoder - 1).
        pointer_valid: (N, P) bool.
        full: every entry is valid, so no mask is needed. Known without asking the device.
    """

    maps: Tensor
    map_offsets: Tensor
    map_valid: Tensor
    pointers: Tensor
    pointer_offsets: Tensor
    pointer_valid: Tensor
    full: bool = False

    def __len__(self) -> int:
        return self.maps.shape[0]


class MemoryBank(FrameBank):
    """Memories of all masklets of a session.

    Maps are bfloat16, as in the released model.

    Args:
        config: the tracker's configuration.
        grid: (h, w) of a memory map, cells.
        max_conditioning_frames: conditioning frames kept per masklet.
        device: where maps and pointers live.
        pointer_dtype: of stored pointers.

    Raises:
        ConfigError: fewer than 2 conditioning frames.
    """

    def __init__(
        self,
        config: TrackerConfig,
        grid: tuple[int, int],
        *,
        max_conditioning_frames: int = 8,
        device: torch.device | str = "cpu",
        pointer_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            (grid[0] * grid[1], config.memory_encoder_output_channels),
            (config.fpn_hidden_size,),
            num_recent_maps=config.num_maskmem,
            num_recent_pointers=config.max_object_pointers_in_encoder,
            max_conditioning_frames=max_conditioning_frames,
            device=device,
            pointer_dtype=pointer_dtype,
        )
        self.config = config

    def gather(
        self,
        frame_index: int,
        *,
        reverse: bool,
        rows: Rows | None = None,
        num_frames: int | None = None,
    ) -> MemoryBatch:
        """What the rows remember when they look at a frame.

        Maps: up to ``max_cond_frame_num`` conditioning frames (the nearest before, the nearest at
        or after, then the nearest of the rest), and the frames 1 … num_maskmem - 1 back in the
        direction of play, conditioning frames that weren't picked among them. Pointers: those of
        all conditioning frames not ahead of ``frame_index``, and of the recent other frames.

        Args:
            frame_index: the frame that is to be segmented.
            reverse: the video is played backwards: memory lies at higher frame indices.
            rows: which rows, in which order; None for all.
            num_frames: frames of the whole video where it is short. transformers reaches back
                fewer pointers, and divides their offsets by less, in videos of fewer than
                ``max_object_pointers_in_encoder`` frames; give the number to do the same.

        Raises:
            InputError: a row that isn't there.
            SessionError: a row without any conditioning frame.
        """
        picked = self._rows(rows)
        bare = self._index.without_conditioning(picked)
        if bare.size:
            raise SessionError(
                f"rows {bare.tolist()} have no conditioning frame; write one before propagating"
            )
        reach = self._index.num_recent_pointers
        if num_frames is not None:
            reach = max(2, min(reach, num_frames))
        maps = self._index.maps(
            picked, frame_index, reverse=reverse, most=self.config.max_cond_frame_num
        )
        pointers = self._index.pointers(picked, frame_index, reverse=reverse, reach=reach)
        return MemoryBatch(
            maps=self._take(self._maps, picked, maps),
            map_offsets=self._upload(maps.offsets),
            map_valid=torch.from_numpy(maps.valid).to(self.device, non_blocking=True),
            pointers=self._take(self._pointers, picked, pointers),
            pointer_offsets=self._upload(pointers.offsets).float() / (reach - 1),
            pointer_valid=torch.from_numpy(pointers.valid).to(self.device, non_blocking=True),
            full=bool(maps.valid.all() and pointers.valid.all()),
        )
