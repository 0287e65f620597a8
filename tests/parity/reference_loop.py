"""transformers' video loop with its vision tower and detector replaced by recorded inputs.

Everything behind them is the reference's own: propagation, association, hot start,
reconditioning, suppression, memories, new objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam3.modeling_sam3 import Sam3SinePositionEmbedding

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.video_config import VideoConfig
from tests.parity.reference import video_model_class


@dataclass(slots=True)
class ReferenceFrame:
    """What the reference says about a frame.

    Attributes:
        obj_ids: identities at the end of the frame.
        masks: (4h, 4w) logits by identity, told right where the reference mixes them up.
        tracker_scores: by identity.
        removed: identities withdrawn so far.
        suppressed: identities hidden on this frame.
        reconditioned: identities.
    """

    obj_ids: list[int]
    masks: dict[int, Tensor]
    tracker_scores: dict[int, float]
    removed: set[int]
    suppressed: set[int]
    reconditioned: set[int]


def reference_loop(
    tracker: nn.Module,
    video: Sequence[TrackerFeatures],
    detections: Sequence[Detections],
    config: VideoConfig,
) -> Any:
    """A ``Sam3VideoModel`` that plays back features and detections by frame."""
    base: Any = video_model_class()

    class Loop(base):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.tracker_model = tracker
            for name, value in config.to_dict().items():
                setattr(self, name, value)
            self.detector_model = SimpleNamespace(get_vision_features=self._frame_of)
            self.sine = Sam3SinePositionEmbedding(tracker.hidden_dim // 2, normalize=True)
            self.told: dict[str, Any] = {}

        def _frame_of(self, pixel_values: Tensor) -> int:
            """The pictures of the session hold nothing but their frame index."""
            return int(pixel_values.reshape(-1)[0])

        def get_vision_features_for_tracker(self, vision_embeds: int) -> tuple[list[Tensor], ...]:
            fine, middle, coarse = video[vision_embeds].levels
            decoder = tracker.mask_decoder
            levels = [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse]
            places = [self.sine((1, 1, *x.shape[2:]), x.device, x.dtype) for x in levels]
            flat = [[x.flatten(2).permute(2, 0, 1) for x in maps] for maps in (levels, places)]
            return flat[0], flat[1]

        def run_detection(
            self, inference_session: Any, vision_embeds: int
        ) -> dict[int, dict[str, Tensor]]:
            found = detections[vision_embeds]
            by_prompt = {}
            for prompt_id in inference_session.prompts:
                mine = found.prompt_ids == prompt_id
                by_prompt[prompt_id] = {
                    "bbox": found.boxes[mine],
                    "mask": found.masks[mine].clone(),
                    "scores": found.scores[mine],
                }
            return by_prompt

        def run_tracker_propagation(self, inference_session: Any, **others: Any) -> Any:
            self.told["ids_before"] = list(inference_session.obj_ids)
            masks, logits = super().run_tracker_propagation(inference_session, **others)
            # A copy: with a single object these are the very masks that the session stores.
            self.told["masks"], self.told["logits"] = masks, logits.clone()
            return masks, logits

        def build_outputs(self, **arguments: Any) -> Any:
            outputs = super().build_outputs(**arguments)
            self.told["reconditioned"] = set(arguments["reconditioned_obj_ids"])
            self.told["new"] = list(arguments["tracker_update_plan"]["new_det_obj_ids"])
            return outputs

    return Loop().eval()


def play(loop: Any, session: Any, frame_index: int, *, reverse: bool) -> ReferenceFrame:
    """One frame of the reference.

    Where an object is removed that is not the last, the reference pairs the masks and scores of
    before with the identities of after. They are paired anew here.
    """
    out = loop(inference_session=session, frame_idx=frame_index, reverse=reverse)
    told = loop.told
    masks = {i: m.squeeze() for i, m in out.obj_id_to_mask.items() if i in told["new"]}
    scores = {i: out.obj_id_to_score[i] for i in told["new"]}
    logits = told["logits"].reshape(-1).sigmoid().tolist()
    kept = set(out.object_ids)
    for row, obj_id in enumerate(told["ids_before"]):
        if obj_id not in kept:
            continue
        redone = obj_id in told["reconditioned"]
        masks[obj_id] = out.obj_id_to_mask[obj_id].squeeze() if redone else told["masks"][row]
        scores[obj_id] = logits[row]
    return ReferenceFrame(
        obj_ids=list(out.object_ids),
        masks={i: mask.clone() for i, mask in masks.items()},
        tracker_scores=scores,
        removed=set(out.removed_obj_ids),
        suppressed=set(out.suppressed_obj_ids),
        reconditioned=told["reconditioned"],
    )


def new_session(num_frames: int, side: int, num_prompts: int) -> Any:
    """A session of the reference whose pictures hold their frame index."""
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

    video = torch.arange(num_frames, dtype=torch.float32).view(-1, 1, 1, 1)
    session = Sam3VideoInferenceSession(
        video=video, video_height=side, video_width=side, dtype=torch.float64
    )
    for number in range(num_prompts):
        session.add_prompt(f"prompt {number}")
    return session
