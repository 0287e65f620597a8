"""A frame as SAM 3.1's network takes it: two branches of the neck, for two decoders."""

from __future__ import annotations

from dataclasses import dataclass

from maskstream.tracker.network.maps import FrameEmbedding


@dataclass(frozen=True, slots=True)
class MultiplexFrame:
    """One frame, ready for any number of buckets.

    Attributes:
        propagation: for what is followed.
        interactive: for clicks and given masks.
    """

    propagation: FrameEmbedding
    interactive: FrameEmbedding
