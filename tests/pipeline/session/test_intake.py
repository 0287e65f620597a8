"""What becomes of a decoder that was taken for dead."""

from __future__ import annotations

from pathlib import Path

from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.live import LiveConfig
from maskstream.pipeline.local.decoding import LocalDecoder
from maskstream.pipeline.session.file_feed import FileFeed
from maskstream.pipeline.session.intake import Intake
from maskstream.pipeline.session.ledger import Ledger
from maskstream.pipeline.session.ports import DecoderDiedError
from maskstream.pipeline.session.restarts import RestartBudget
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import Counters
from tests.pipeline.clips import number_in, write_numbered_clip


def open_clip(path: Path) -> FileFeed:
    return FileFeed(open_source(path), SessionOptions(), LiveConfig())


class Unreachable(LocalDecoder):
    """Lives, and cannot be reached: as an actor whose connection broke, or that hangs."""

    is_closed = False

    def begin(self, start: int, *, reverse: bool) -> None:
        raise DecoderDiedError("out of reach")

    def close(self) -> None:
        self.is_closed = True
        super().close()


def test_it_is_ended_before_another_takes_its_place(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 3)
    lost = Unreachable(lambda: open_clip(clip))
    decoders = iter([lost, LocalDecoder(lambda: open_clip(clip))])

    was_closed: list[bool] = []

    def start() -> LocalDecoder:
        was_closed.append(lost.is_closed)
        return next(decoders)

    ledger = Ledger(Counters(), lossless=True)
    intake = Intake(start, RestartBudget(1, 60.0), ledger, is_live=False)
    intake.begin(1)
    assert was_closed == [False, True]
    arrival = intake.peek(5.0)
    assert arrival is not None
    assert number_in(arrival.image) == 1
    assert intake.num_deaths == 1
    intake.close()
