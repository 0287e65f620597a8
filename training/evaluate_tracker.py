"""Validation of the tracker: masks given once, then followed as in inference."""

from __future__ import annotations

import torch
from torch import Tensor

from maskstream.detector.model import Detector
from maskstream.tracker.network.memory_bank import MemoryBank
from maskstream.tracker.network.model import FrameEmbedding, MaskletPrediction, TrackerModel
from maskstream.tracker.object_prompt import PREVIOUS_MASK_LIMIT
from training.clicks import deepest_cells
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
    was_training, device = model.training, model.device
    model.eval()
    quality: dict[str, list[Tensor]] = {"mask_miou": [], "last_miou": [], "return_miou": []}
    right: dict[str, list[Tensor]] = {"visible_recall": [], "hidden_recall": []}
    for index in range(plan.count):
        number = plan.first + index
        clip = make_tracked_clip(
            number, plan.side, plan.num_frames, plan.max_objects, plan.split, EVERY_FRAME
        ).to(device)
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


NUM_CLICKS = 3


def click_through(
    model: TrackerModel, frame: FrameEmbedding, coverage: Tensor, num_clicks: int
) -> list[Tensor]:
    """IoU (N,) of N objects after 1, 2, … clicks, each on the worst of what is still wrong.

    Args:
        model: the network.
        frame: the frame that shows the objects.
        coverage: (N, 4h, 4w), the truth.
        num_clicks: how many.
    """
    cell = model.config.image_size / coverage.shape[-1]
    truth = coverage >= 0.5
    points = coverage.new_zeros(len(truth), 0, 2)
    labels = points.new_zeros(len(truth), 0, dtype=torch.int64)
    mask = torch.zeros_like(truth)
    previous = None
    quality = []
    for _ in range(num_clicks):
        place = deepest_cells(mask != truth)
        rows = torch.arange(len(truth), device=truth.device)
        label = truth[rows, place[:, 1].long(), place[:, 0].long()].long()
        points = torch.cat((points, (place[:, None] + 0.5) * cell), 1)
        labels = torch.cat((labels, label[:, None]), 1)
        said = model.prompt(
            frame, points=points, point_labels=labels, mask_logits=previous, memory=None
        )
        previous = said.low_res_masks.clamp(-PREVIOUS_MASK_LIMIT, PREVIOUS_MASK_LIMIT)
        mask = said.low_res_masks > 0
        quality.append(actual_quality(said.low_res_masks[:, None], coverage)[:, 0])
    return quality


@torch.no_grad()
def evaluate_prompts(detector: Detector, model: TrackerModel, plan: ClipPlan) -> dict[str, float]:
    """Mean IoU on the first frames of a plan's clips after clicks, and after a box."""
    was_training, device = model.training, model.device
    model.eval()
    clicked: list[list[Tensor]] = [[] for _ in range(NUM_CLICKS)]
    boxed: list[Tensor] = []
    for number in range(plan.first, plan.first + plan.count):
        clip = make_tracked_clip(number, plan.side, 1, plan.max_objects, plan.split).to(device)
        if not clip.coverage.shape[1]:
            continue
        features = detector.encode_image(clip.to_float(), tracker=True)
        frame = model.embed(features.tracker_features(0))
        for parts, iou in zip(
            clicked, click_through(model, frame, clip.coverage[0], NUM_CLICKS), strict=True
        ):
            parts.append(iou)
        said = model.prompt(frame, boxes=clip.boxes, memory=None)
        boxed.append(actual_quality(said.low_res_masks[:, None], clip.coverage[0])[:, 0])
    model.train(was_training)
    metrics = {
        f"iou_after_{count}": float(torch.cat(parts).mean())
        for count, parts in enumerate(clicked, start=1)
        if parts
    }
    return metrics | ({"iou_of_box": float(torch.cat(boxed).mean())} if boxed else {})
