"""Key frames with known indices, from which decoding can start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """A key frame.

    Attributes:
        index: the frame's index, 0-based.
        pts: its time stamp, in the stream's time base.
    """

    index: int
    pts: int


@dataclass(slots=True)
class KeyframeAnchors:
    """The key frames that decoding has found so far, in order.

    Bounded: above ``max_anchors`` every second one is dropped, so later seeks land further back. If
    time stamps are missing or run backward, seeking is impossible, and ``distrust`` drops all
    anchors for good.

    Attributes:
        max_anchors: largest number of anchors.
        trusted: False after ``distrust``.
    """

    max_anchors: int = 4096
    trusted: bool = True
    _anchors: list[Anchor] = field(default_factory=list)

    def add(self, anchor: Anchor) -> None:
        """Remember a key frame, if it is new."""
        if not self.trusted or self.pts_at(anchor.index) is not None:
            return
        insort(self._anchors, anchor)
        if len(self._anchors) > self.max_anchors:
            del self._anchors[1::2]

    def floor(self, index: int) -> Anchor | None:
        """The last anchor at or before ``index``."""
        position = bisect_right(self._anchors, index, key=lambda anchor: anchor.index)
        return self._anchors[position - 1] if position else None

    def ceiling(self, index: int) -> Anchor | None:
        """The first anchor at or after ``index``."""
        position = bisect_left(self._anchors, index, key=lambda anchor: anchor.index)
        return self._anchors[position] if position < len(self._anchors) else None

    def pts_at(self, index: int) -> int | None:
        """The time stamp of frame ``index``, if it is an anchor."""
        anchor = self.floor(index)
        return anchor.pts if anchor is not None and anchor.index == index else None

    def distrust(self) -> None:
        """Drop all anchors and accept no more: seeking in this file cannot be trusted."""
        self.trusted = False
        self._anchors.clear()
