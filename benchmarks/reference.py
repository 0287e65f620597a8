"""transformers' ``Sam3VideoModel`` with the weights of ours, in parts that can be timed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Sam3VideoConfig, Sam3VideoInferenceSession
from transformers.utils import import_utils

from maskstream.detector.checkpoint import OPTIONAL, PREFIXES
from maskstream.pipeline.video.model import VideoModel
from maskstream.tracker.network.model import TrackerModel


def build_reference(model: VideoModel) -> Any:
    """The same network, weights, device and dtype."""
    if not import_utils.is_torchvision_available():
        # It is needed for box exemplars alone, which are not measured, yet asked for in any case.
        import_utils.BACKENDS_MAPPING["torchvision"] = (lambda: True, "")
    module = importlib.import_module("transformers.models.sam3_video.modeling_sam3_video")
    reference = module.Sam3VideoModel(Sam3VideoConfig(**model.to_config()))
    own = tuple(PREFIXES[0] + name for name in OPTIONAL)
    tensors = {n: t for n, t in model.to_tensors().items() if not n.startswith(own)}
    reference.load_state_dict(tensors, strict=True)
    tracker = tracker_of(model)
    if tracker.memory_dim == tracker.hidden:
        _let_pointers_be_as_wide_as_memory(reference.tracker_model)
    return reference.to(device=model.device, dtype=model.dtype).eval().requires_grad_(False)


def tracker_of(model: VideoModel) -> TrackerModel:
    """The tracker, which has to be SAM 3.0's: transformers has no other.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(model.tracker, TrackerModel):
        raise TypeError(f"transformers has no {type(model.tracker).__name__} to compare with")
    return model.tracker


def _let_pointers_be_as_wide_as_memory(tracker: Any) -> None:
    """transformers brings pointers into shape only where they are wider than memory maps."""
    process = tracker._process_object_pointers

    def shaped(*arguments: Any, **named: Any) -> tuple[Any, Any]:
        pointers, positions = process(*arguments, **named)
        if pointers is not None and pointers.dim() == 4:
            pointers = pointers.reshape(len(pointers), -1, pointers.shape[-1])
        return pointers, positions

    tracker._process_object_pointers = shaped


def start_session(
    reference: Any, model: VideoModel, texts: Sequence[str], size: tuple[int, int]
) -> Any:
    """A session that looks for these texts in frames of ``size`` (height, width)."""
    session = Sam3VideoInferenceSession(
        video_height=size[0],
        video_width=size[1],
        inference_device=model.device,
        inference_state_device=model.device,
        video_storage_device=model.device,
        dtype=model.dtype,
    )
    length = model.detector.config.text_config.max_position_embeddings
    for index, text in enumerate(texts):
        # Repeated words are concepts of their own here.
        session.prompts[index] = text
        ids, mask = model.detector.tokenizer.encode([text], length)
        session.prompt_input_ids[index] = ids.to(model.device)
        session.prompt_attention_masks[index] = mask.long().to(model.device)
    return session


def detect(reference: Any, session: Any, pixels: Tensor) -> dict[int, dict[str, Tensor]]:
    """All that is done with one frame before tracking."""
    vision = reference.detector_model.get_vision_features(pixel_values=pixels)
    found: dict[int, dict[str, Tensor]] = reference.run_detection(session, vision)
    reference.get_vision_features_for_tracker(vision)
    return found


class ScriptedDetections:
    """Puts detections of our choosing in place of, or beside, those of the reference.

    Args:
        replace: leave its detector out altogether.
    """

    def __init__(self, reference: Any, *, replace: bool) -> None:
        self._reference = reference
        self._own = reference.run_detection
        self._replace = replace
        self._masks: Tensor | None = None
        reference.run_detection = self._run

    def give(self, masks: Tensor) -> None:
        """Find these masks (N, 4h, 4w) on the next frame, of concept 0 and sure of them."""
        self._masks = masks

    def restore(self) -> None:
        """Give the reference its own detections back."""
        del self._reference.run_detection

    def _run(self, inference_session: Any, vision_embeds: Any) -> dict[int, dict[str, Tensor]]:
        found: dict[int, dict[str, Tensor]] = (
            {} if self._replace else self._own(inference_session, vision_embeds)
        )
        if self._masks is not None:
            masks, self._masks = self._masks, None
            scores = masks.new_full((len(masks),), 0.95)
            found[0] = {"mask": masks, "scores": scores, "bbox": masks.new_zeros(len(masks), 4)}
        return found


class TrackingOnly:
    """The reference's video loop on the levels of the tracker's neck: no ViT, no neck, no detector.

    What its mask decoder makes of these levels is made for every frame, as it is here.
    """

    def __init__(self, reference: Any, model: VideoModel, pixels: Tensor) -> None:
        self._reference = reference
        detector = reference.detector_model
        vision = detector.get_vision_features(pixel_values=pixels)
        levels: list[Any] = []
        hook = reference.tracker_neck.register_forward_hook(lambda *call: levels.append(call[-1]))
        reference.get_vision_features_for_tracker(vision)
        hook.remove()
        self._detections = ScriptedDetections(reference, replace=True)
        detector.get_vision_features = lambda pixel_values: vision
        reference.tracker_neck.forward = lambda hidden_states: levels[0]
        side = pixels.shape[-1]
        self._session = start_session(reference, model, ["object"], (side, side))
        self._frame = pixels.new_zeros(3, 1, 1)

    def start(self, masks: Tensor) -> None:
        """Frame 0: masklets of these masks."""
        self._detections.give(masks)
        self.step()

    def step(self) -> None:
        """The next frame, in which the detector finds nothing new."""
        self._reference(inference_session=self._session, frame=self._frame)

    @property
    def num_masklets(self) -> int:
        """Masklets followed."""
        return len(self._session.obj_ids)

    def restore(self) -> None:
        """Give the reference its parts back."""
        self._detections.restore()
        del self._reference.detector_model.get_vision_features
        del self._reference.tracker_neck.forward
