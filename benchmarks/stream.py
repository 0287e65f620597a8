"""One long stream in a process of its own: time and memory per frame, early and late.

Run by ``benchmarks.model``; prints one JSON line for every mark.

So many masklets are followed all the time, and every few frames the oldest one goes and a new one
comes. Detection runs on every frame, with a threshold that nothing passes: what there is to follow
thus depends on no checkpoint.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from benchmarks.measure import clocked, device_mb, resident_mb
from benchmarks.scenes import Scene, disc_masks
from maskstream.core.threads import use_threads
from maskstream.detector.preprocess import to_pixels
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter

TEXTS = ("airplane", "red circle")
NUM_MASKLETS = 8
CHURN_EVERY = 10
WINDOW = 20
"""Frames that a mark's median is taken over."""
YOUNG = 40
"""Age at which a stream's banks are full and all masklets are there."""
NUM_PICTURES = 64
"""Pictures that are shown over and over, there and back."""


class Stream(Protocol):
    """One system on the stream."""

    def step(self, frame_index: int) -> None:
        """Take the next frame."""

    def renew(self, frame_index: int) -> None:
        """Before that frame: the oldest masklet goes if there are enough, a new one comes."""

    @property
    def num_masklets(self) -> int:
        """Masklets followed."""


class OurStream:
    """:class:`maskstream.pipeline.video.segmenter.VideoSegmenter`."""

    def __init__(self, model: VideoModel, scene: Scene) -> None:
        side = model.detector.config.image_size
        self._pictures = [scene.picture(i) for i in range(NUM_PICTURES)]
        self._segmenter = VideoSegmenter(model, latency="live", score_threshold=1.0)
        for text in TEXTS:
            self._segmenter.add_concept(text)
        self._masks = (disc_masks(NUM_MASKLETS, (side, side)) > 0).numpy()
        self._obj_ids: deque[int] = deque()
        self._started = 0

    def _frame(self, frame_index: int) -> Frame:
        return Frame(frame_index, None, self._pictures[_bounce(frame_index)])

    def step(self, frame_index: int) -> None:
        self._segmenter.step(self._frame(frame_index))

    def renew(self, frame_index: int) -> None:
        if len(self._obj_ids) == NUM_MASKLETS:
            self._segmenter.remove_object(self._obj_ids.popleft())
        mask = self._masks[self._started % NUM_MASKLETS]
        given = self._segmenter.add_object(self._frame(frame_index), mask=mask)
        self._obj_ids.append(given)
        self._started += 1

    @property
    def num_masklets(self) -> int:
        return len(self._obj_ids)


class TheirStream:
    """transformers' streaming inference."""

    def __init__(self, model: VideoModel, scene: Scene) -> None:
        # Imported here, so that our process does not carry transformers' memory.
        from benchmarks import reference as theirs

        self._reference = theirs.build_reference(model)
        self._reference.score_threshold_detection = 1.0
        side = model.detector.config.image_size
        pictures = [scene.picture(i) for i in range(NUM_PICTURES)]
        self._pixels = [to_pixels([p], side, model.device, model.dtype) for p in pictures]
        self._session = theirs.start_session(self._reference, model, TEXTS, (side, side))
        self._detections = theirs.ScriptedDetections(self._reference, replace=False)
        masks = disc_masks(NUM_MASKLETS, model.tracker.mask_size)
        self._masks = masks.to(model.device, model.dtype)
        self._started = 0

    def step(self, frame_index: int) -> None:
        self._reference(inference_session=self._session, frame=self._pixels[_bounce(frame_index)])

    def renew(self, frame_index: int) -> None:
        if len(self._session.obj_ids) == NUM_MASKLETS:
            self._session.remove_object(self._session.obj_ids[0])
        place = self._started % NUM_MASKLETS
        self._detections.give(self._masks[place : place + 1])
        self._started += 1

    @property
    def num_masklets(self) -> int:
        return len(self._session.obj_ids)


def _bounce(frame_index: int) -> int:
    """Pictures there and back, without a jump."""
    place = frame_index % (2 * NUM_PICTURES - 2)
    return min(place, 2 * NUM_PICTURES - 2 - place)


class Player:
    """Plays a stream frame by frame, with masklets coming and going."""

    def __init__(self, stream: Stream, device: torch.device) -> None:
        self.stream = stream
        self.frame_index = 0
        self._device = device

    def step(self) -> tuple[float, float]:
        """One frame; milliseconds of wall and of processor time that it took."""
        return clocked(self._step, self._device)

    def _step(self) -> None:
        if self.frame_index < NUM_MASKLETS or self.frame_index % CHURN_EVERY == 0:
            self.stream.renew(self.frame_index)
        self.stream.step(self.frame_index)
        self.frame_index += 1


def run(
    start: Callable[[], Stream], marks: list[int], device: torch.device
) -> Iterator[dict[str, Any]]:
    """Step to the last mark; report at each.

    Args:
        start: begins a stream.
        marks: frame numbers.
        device: where the model is.
    """
    player = Player(start(), device)
    for mark in sorted(marks):
        while player.frame_index < mark - WINDOW:
            player.step()
        recent = [player.step() for _ in range(WINDOW)]
        row = {
            "frame": mark,
            "masklets": player.stream.num_masklets,
            "frame_ms": round(statistics.median(wall for wall, _ in recent), 1),
            "processor_ms": round(statistics.median(cpu for _, cpu in recent), 1),
            "resident_mb": round(resident_mb(), 1),
            "device_mb": device_mb(device),
            "times_a_new_one": None,
        }
        if mark == max(marks):  # before, a second stream would show in the memory of the first
            row["times_a_new_one"] = round(_beside_a_new_one(player, Player(start(), device)), 2)
        yield row


def _beside_a_new_one(old: Player, new: Player) -> float:
    """Time of a frame divided by that of a stream that has just begun, in turns: a machine whose
    speed changes changes both.
    """
    while new.frame_index < YOUNG:
        new.step()
    return statistics.median(old.step()[0] / new.step()[0] for _ in range(WINDOW))


SYSTEMS: dict[str, Callable[[VideoModel, Scene], Stream]] = {
    "maskstream": OurStream,
    "transformers": TheirStream,
}


def main() -> None:
    """Run one system and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", choices=list(SYSTEMS), required=True)
    parser.add_argument("--marks", type=int, nargs="+", required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    use_threads(given.threads)
    model = VideoModel.from_checkpoint(given.checkpoint, device=given.device, dtype=given.dtype)
    scene = Scene(model.detector.config.image_size)
    with torch.inference_mode():
        for row in run(lambda: SYSTEMS[given.system](model, scene), given.marks, model.device):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
