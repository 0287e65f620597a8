"""Validation of the tracker: masks given once, then followed as in inference."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.model import Detector
from tracker.memory_bank import MemoryBank
from tracker.model import MaskletPrediction, TrackerModel
from training.clips import ClipPlan, TrackedClip, make_tracked_clip
from training.tracker_losses import actual_quality

EVERY_FRAME = 2


@torch.no_grad()
def follow(detector: Detector, model: TrackerModel, clip: TrackedClip) -> list[MaskletPrediction]:
    """The model's word on every frame after the first, from masks given in the first."""
    bank = MemoryBank(model.config, model.grid)
    bank.append_rows(clip.coverage.shape[1])
    rows = list(range(clip.coverage.shape[1]))
    predictions = []
    features = detector.encode_image(clip.to_float(), tracker=True)
    for t in range(len(clip.pixels)):
        frame = model.embed(features.tracker_features(t))
        if t == 0:
            result = model.from_masks(frame, (clip.coverage[0] >= 0.5).float())
        else:
            result = model.propagate(frame, bank.gather(t, reverse=False))
            predictions.append(result)
        maps = model.encode_memory(
            frame, result.low_res_masks, result.object_score_logits, binarize=t == 0
        )
        bank.write(rows, t, maps, result.object_pointers, conditioning=t == 0)
    return predictions


def evaluate_tracker(detector: Detector, model: TrackerModel, plan: ClipPlan) -> dict[str, float]:
    """Metrics over the objects and frames of a plan's clips.

    Returns:
        ``mask_miou``: mean IoU where the object is visible;
        ``last_miou``: the same over the last quarter of the frames;
        ``return_miou``: the same over frames after the object was out of sight;
        ``visible_recall`` and ``hidden_recall``: how often the object score is right.
    """
    was_training = model.training
    model.eval()
    quality: dict[str, list[Tensor]] = {"mask_miou": [], "last_miou": [], "return_miou": []}
    right: dict[str, list[Tensor]] = {"visible_recall": [], "hidden_recall": []}
    for index in range(plan.count):
        number = plan.first + index
        clip = make_tracked_clip(
            number, plan.side, plan.num_frames, plan.max_objects, plan.split, EVERY_FRAME
        )
        if not clip.coverage.shape[1]:
            continue
        been_away = clip.hidden.cumsum(0) > 0
        for t, said in enumerate(follow(detector, model, clip), start=1):
            iou = actual_quality(said.low_res_masks[:, None], clip.coverage[t])[:, 0]
            visible, there = clip.visible[t], said.object_score_logits > 0
            quality["mask_miou"].append(iou[visible])
            quality["return_miou"].append(iou[visible & been_away[t]])
            if t >= 0.75 * plan.num_frames:
                quality["last_miou"].append(iou[visible])
            right["visible_recall"].append(there[visible].float())
            right["hidden_recall"].append((~there)[clip.hidden[t]].float())
    model.train(was_training)
    joined = {name: torch.cat(parts) for name, parts in (quality | right).items()}
    return {name: float(values.mean()) for name, values in joined.items() if len(values)}
