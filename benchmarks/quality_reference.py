"""transformers' ``Sam3VideoModel`` with the weights of ours, put to the same test."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.quality_systems import Followed, Found
from benchmarks.reference import build_reference, start_session
from maskstream.core.masks import boxes_from_masks
from maskstream.detector.preprocess import to_pixels
from maskstream.pipeline.video.model import VideoModel


class Transformers:
    """The reference's network, loop and clean-up; frames are made ready by this project's code.

    The reference does non-maximum suppression, hole filling and speck removal with an optional
    kernel alone, and goes without where that is not installed.
    """

    def __init__(self, model: VideoModel) -> None:
        self._model = model
        self._reference = build_reference(model)
        self._processor = _processor()

    @torch.inference_mode()
    def find(self, image: NDArray[np.uint8], texts: Sequence[str], floor: float) -> Iterator[Found]:
        """Look for each phrase, overlapping finds included."""
        model, reference = self._model, self._reference
        height, width = image.shape[:2]
        session = start_session(reference, model, texts, (height, width))
        pixels = to_pixels([image], model.detector.config.image_size, model.device, model.dtype)
        usual = reference.score_threshold_detection, reference.det_nms_thresh
        reference.score_threshold_detection, reference.det_nms_thresh = floor, 0.0
        vision = reference.detector_model.get_vision_features(pixel_values=pixels)
        found = reference.run_detection(session, vision)
        reference.score_threshold_detection, reference.det_nms_thresh = usual
        for index in range(len(texts)):
            scores, masks = found[index]["scores"], found[index]["mask"][:, None].float()
            if len(masks):
                masks = functional.interpolate(masks, (height, width), mode="bilinear")
            else:
                masks = masks.new_zeros(0, 1, height, width)
            yield Found((masks[:, 0] > 0).cpu().numpy(), scores.float().cpu().numpy())

    @torch.inference_mode()
    def follow(
        self, images: Iterable[NDArray[np.uint8]], texts: Sequence[str]
    ) -> Iterator[list[Followed]]:
        """Follow through the clip as a whole: given frame by frame, it skips its hot start."""
        model, side = self._model, self._model.detector.config.image_size
        session: Any = None
        for image in images:
            if session is None:
                size = (image.shape[0], image.shape[1])
                session = start_session(self._reference, model, texts, size)
            session.add_new_frame(to_pixels([image], side, model.device, model.dtype))
        for said in self._reference.propagate_in_video_iterator(session):
            told = self._processor.postprocess_outputs(session, said)
            obj_ids, masks = told["object_ids"].numpy(), told["masks"].cpu().numpy()
            concepts = np.asarray([session.obj_id_to_prompt_id[i] for i in obj_ids.tolist()])
            rows = [concepts == index for index in range(len(texts))]
            if len(obj_ids):
                yield [Followed(obj_ids[mine], masks[mine]) for mine in rows]
            else:
                yield [Followed(obj_ids, masks) for _ in texts]


def with_its_options(model: VideoModel) -> VideoModel:
    """The same model, set to what the reference does.

    It encodes all memories anew when objects are added, gives no identity back to what the tracker
    has lost, and leaves out what it has no kernel for. What then still differs lies in the code
    of the two.
    """
    config = replace(model.config, reencode_memory_on_new_objects=True, reidentify_within=0)
    if importlib.util.find_spec("kernels") is None:
        config = replace(config, det_nms_thresh=0.0, fill_hole_area=0)
    return replace(model, config=config)


def _processor() -> Any:
    """The part of the reference that turns low-resolution masks into results.

    It is made without tokenizer and image processor, which it does not need for that.
    """
    module = importlib.import_module("transformers.models.sam3_video.processing_sam3_video")
    if not hasattr(module, "masks_to_boxes"):
        # Only comes with torchvision, which is not needed for anything else here.
        module.masks_to_boxes = boxes_from_masks  # type: ignore[attr-defined]
    kind: Any = module.Sam3VideoProcessor
    return object.__new__(kind)
