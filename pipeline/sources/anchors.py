"""Key frames whose index is known: the places where decoding can be taken up again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """A key frame: its index as the decoder counted it, and its time stamp in stream units."""

    index: int
    pts: int


@dataclass(slots=True)
class KeyframeAnchors:
    """The anchors that sequential decoding has met so far, in order.

    Their number is bounded: when ``max_anchors`` is passed every second one is forgotten, which
    only makes later seeks land further back. Where time stamps are missing or run backwards they
    cannot be trusted for seeking, and ``distrust`` gives them up for good.
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
        """The time stamp on record for frame ``index``, if it is an anchor."""
        anchor = self.floor(index)
        return anchor.pts if anchor is not None and anchor.index == index else None

    def distrust(self) -> None:
        """Give up seeking in this file."""
        self.trusted = False
        self._anchors.clear()
