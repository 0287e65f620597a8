"""What is put to the test: something that finds phrases in pictures and follows them in clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskstream.detector.processor import Sam3Processor
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sources import Frame
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.segmenter import VideoSegmenter


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one phrase in one picture.

    Attributes:
        masks: (N, H, W) bool at the picture's size.
        scores: (N,) float32 in [0, 1].
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed for one phrase in one frame.

    Attributes:
        obj_ids: (N,) int64, lasting identities.
        masks: (N, H, W) bool at the frame's size.
    """

    obj_ids: NDArray[np.int64]
    masks: NDArray[np.bool_]


class System(Protocol):
    """A model and the code around it."""

    def find(self, image: NDArray[np.uint8], texts: Sequence[str], floor: float) -> Iterator[Found]:
        """Look for each phrase in an (H, W, 3) picture; scores of ``floor`` and more are told."""
        ...

    def follow(
        self, images: Iterable[NDArray[np.uint8]], texts: Sequence[str]
    ) -> Iterator[list[Followed]]:
        """Follow the objects of phrases through a clip: every frame in order, every phrase."""
        ...


class Maskstream:
    """This project, through what it offers to its users."""

    def __init__(self, model: VideoModel) -> None:
        self._model = model

    def find(self, image: NDArray[np.uint8], texts: Sequence[str], floor: float) -> Iterator[Found]:
        """Look for each phrase with the image interface."""
        processor = Sam3Processor(self._model.detector, confidence_threshold=floor)
        state = processor.set_image(image)
        for text in texts:
            state = processor.set_text_prompt(text, state)
            yield Found(state["masks"][:, 0].cpu().numpy(), state["scores"].float().cpu().numpy())

    def follow(
        self, images: Iterable[NDArray[np.uint8]], texts: Sequence[str]
    ) -> Iterator[list[Followed]]:
        """Follow with delayed results."""
        segmenter = VideoSegmenter(self._model, latency="delayed")
        prompt_ids = [segmenter.add_concept(text) for text in texts]
        for frame_index, image in enumerate(images):
            for result in segmenter.step(Frame(frame_index, None, image)):
                yield _by_phrase(result, prompt_ids)
        for result in segmenter.flush():
            yield _by_phrase(result, prompt_ids)


def _by_phrase(result: FrameResult, prompt_ids: Sequence[int]) -> list[Followed]:
    rows = [result.prompt_ids == prompt_id for prompt_id in prompt_ids]
    return [Followed(result.obj_ids[mine], result.masks[mine]) for mine in rows]
