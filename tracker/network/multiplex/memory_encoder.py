"""SAM 3.1's memory encoder: the masks of a bucket's objects, a channel each, as one memory map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskstream.tracker.network.memory_encoder import MaskDownSampler, MemoryFuser
from maskstream.tracker.network.multiplex.config import MultiplexConfig

NUM_CONVOLUTIONS = 4
"""Each halves the masks: 16 pixels a cell become one."""


class MultiplexMemoryEncoder(nn.Module):
    """Memory maps of B buckets from one frame's features and the masks in their slots."""

    def __init__(self, config: MultiplexConfig) -> None:
        super().__init__()
        hidden, first = config.fpn_hidden_size, config.mask_downsampler_channels
        channels = [2 * config.num_slots, *(first * 4**n for n in range(NUM_CONVOLUTIONS))]
        self.mask_downsampler = MaskDownSampler(config, channels, hidden)
        self.feature_projection = nn.Conv2d(hidden, hidden, kernel_size=1)
        self.memory_fuser = MemoryFuser(config)

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Encode.

        Args:
            image: (1, C, h, w), the frame's coarsest features.
            masks: (B, 2M, 16h, 16w): the masks in M slots, scaled as the encoder wants them, then
                for each slot 1 everywhere if its object conditions the frame, else 0.

        Returns:
            (B, C, h, w).
        """
        projected = self.feature_projection(image)
        # Bucket by bucket on the CPU: its caches hold no more, and none depends on the others.
        some = masks.split(1 if image.device.type == "cpu" else len(masks))
        maps = [self.memory_fuser(projected + self.mask_downsampler(one)) for one in some]
        return maps[0] if len(maps) == 1 else torch.cat(maps)
