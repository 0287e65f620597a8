"""A tracker network that remembers masks exactly: what goes into its memory comes out again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.memory_bank import MemoryBatch
from maskstream.tracker.network.model import FrameEmbedding, MaskletPrediction, TrackerModel, resize
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_tracker import VideoTracker

CELLS = 8
SIZE = 4 * CELLS
IMAGE = 16 * CELLS
WIDTH = 16
PRESENT, ABSENT = 5.0, -5.0


def exact_config() -> TrackerConfig:
    return TrackerConfig(
        image_size=IMAGE,
        patch_size=16,
        fpn_hidden_size=WIDTH,
        prompt_encoder_config=PromptEncoderConfig(
            hidden_size=WIDTH, image_size=IMAGE, patch_size=16
        ),
        mask_decoder_config=MaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=8, num_attention_heads=2, iou_head_hidden_dim=8
        ),
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=8,
        memory_encoder_hidden_size=WIDTH,
        # The 4 x 4 pixels of a mask that lie in a cell are the memory of the cell.
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=8,
    )


@dataclass
class Calls:
    """What the network was asked.

    Attributes:
        prompts: keyword arguments of every ``prompt``.
        encoded: (masks, binarize) of every ``encode_memory``.
    """

    prompts: list[dict[str, Any]] = field(default_factory=list)
    encoded: list[tuple[Tensor, bool]] = field(default_factory=list)


class ExactMemory(TrackerModel):
    """Shows each masklet as it was last remembered; the frame does not matter.

    Good for 256 memories: that far bfloat16 counts.
    """

    def __init__(self) -> None:
        super().__init__(exact_config())
        self.calls = Calls()
        self.clock = 0
        self.absent: set[int] = set()
        """Rows whose object is not in the frame."""

    def embed(self, features: TrackerFeatures) -> FrameEmbedding:
        fine, middle, coarse = features.levels
        return FrameEmbedding(high_res=(fine, middle), image=coarse, position=coarse)

    def propagate(self, frame: FrameEmbedding, memory: MemoryBatch) -> MaskletPrediction:
        masks = torch.zeros(len(memory), SIZE, SIZE)
        for row in range(len(memory)):
            maps = memory.maps[row][memory.map_valid[row]].float()
            latest = maps[:, 0, 0].abs().argmax()
            masks[row] = torch.where(_from_map(maps[latest]) > 0, 6.0, -6.0)
        present = torch.tensor(
            [row not in self.absent for row in range(len(memory))], dtype=torch.bool
        )
        masks = torch.where(present[:, None, None], masks, -1024.0) if len(memory) else masks
        return _prediction(masks, torch.where(present, PRESENT, ABSENT))

    def prompt(
        self,
        frame: FrameEmbedding,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_logits: Tensor | None = None,
        memory: MemoryBatch | None,
    ) -> MaskletPrediction:
        """A disc around every positive click, none around negative ones; the box filled."""
        self.calls.prompts.append(
            {
                "points": points,
                "point_labels": point_labels,
                "boxes": boxes,
                "mask_logits": mask_logits,
                "memory": memory,
            }
        )
        inside = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        if mask_logits is not None:
            inside |= mask_logits[0] > 0
        if boxes is not None:
            x0, y0, x1, y1 = (boxes[0] / 4).round().long().tolist()
            inside[y0:y1, x0:x1] = True
        if points is not None and point_labels is not None:
            for point, label in zip(points[0] / IMAGE, point_labels[0].tolist(), strict=True):
                here = disc(float(point[0]), float(point[1]), 0.12) > 0
                inside = inside | here if label else inside & ~here
        return _prediction(torch.where(inside, 6.0, -6.0)[None], torch.tensor([PRESENT]))

    def from_masks(self, frame: FrameEmbedding, masks: Tensor) -> MaskletPrediction:
        logits = resize(masks, (SIZE, SIZE), antialias=True) * 20 - 10
        there = masks.flatten(1).any(1)
        return _prediction(logits, torch.where(there, 10.0, -10.0))

    def encode_memory(
        self,
        frame: FrameEmbedding,
        mask_logits: Tensor,
        object_score_logits: Tensor,
        *,
        binarize: bool,
    ) -> Tensor:
        self.calls.encoded.append((mask_logits, binarize))
        if len(mask_logits) == 0:
            return torch.zeros(0, CELLS * CELLS, 16, dtype=torch.bfloat16)
        # Each memory is larger than all before, which says which one is the latest.
        self.clock += 1
        inside = resize(mask_logits, (SIZE, SIZE), antialias=True) > 0
        size = float(self.clock)
        return _to_map(torch.where(inside, size, -size)).to(torch.bfloat16)


def _prediction(masks: Tensor, scores: Tensor) -> MaskletPrediction:
    count = len(masks)
    return MaskletPrediction(masks, torch.full((count,), 0.9), scores, torch.zeros(count, WIDTH))


def _to_map(masks: Tensor) -> Tensor:
    blocks = masks.unflatten(1, (CELLS, 4)).unflatten(3, (CELLS, 4))
    return blocks.permute(0, 1, 3, 2, 4).reshape(len(masks), CELLS * CELLS, 16)


def _from_map(entry: Tensor) -> Tensor:
    blocks = entry.reshape(CELLS, CELLS, 4, 4).permute(0, 2, 1, 3)
    return blocks.reshape(SIZE, SIZE)


def features() -> TrackerFeatures:
    levels = [torch.zeros(1, WIDTH, scale * CELLS, scale * CELLS) for scale in (4, 2, 1)]
    return TrackerFeatures(levels=(levels[0], levels[1], levels[2]))


def disc(x: float, y: float, radius: float) -> Tensor:
    """(SIZE, SIZE) logits of ±6; in parts of the frame's side."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    inside = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2 < radius**2
    return torch.where(inside, 6.0, -6.0)


def found(*detections: tuple[int, float, Tensor]) -> Detections:
    """Detections from (prompt id, score, mask logits)."""
    if not detections:
        return Detections.empty((SIZE, SIZE))
    return Detections(
        prompt_ids=torch.tensor([each[0] for each in detections]),
        scores=torch.tensor([each[1] for each in detections]),
        boxes=torch.zeros(len(detections), 4),
        masks=torch.stack([each[2] for each in detections]),
    )


LEFT = disc(0.25, 0.3, 0.15)
RIGHT = disc(0.75, 0.3, 0.15)
LOW = disc(0.5, 0.75, 0.15)
NOTHING = found()


def play(
    tracker: VideoTracker, frames: range, detections: Detections = NOTHING
) -> list[TrackedFrame]:
    """Step over frames with the same detections in each."""
    return [tracker.step(index, features(), detections) for index in frames]


def same(ours: Tensor, other: Tensor) -> bool:
    return torch.equal(ours > 0, other > 0)


def mask_of(frame: TrackedFrame, obj_id: int) -> Tensor:
    return frame.low_res_masks[frame.obj_ids.index(obj_id)]


def assert_same_frame(ours: TrackedFrame, other: TrackedFrame) -> None:
    assert ours.obj_ids == other.obj_ids
    assert ours.prompt_ids == other.prompt_ids
    assert ours.states == other.states
    assert ours.first_frames == other.first_frames
    assert ours.newly_removed == other.newly_removed
    assert ours.newly_confirmed == other.newly_confirmed
    for name in ("low_res_masks", "detection_scores", "last_detection_scores", "tracker_scores"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(other, name), rtol=0, atol=0, equal_nan=True
        )


def equal_states(ours: Any, other: Any) -> bool:
    if isinstance(ours, Tensor):
        return torch.equal(ours, other)
    if isinstance(ours, dict):
        return ours.keys() == other.keys() and all(equal_states(ours[k], other[k]) for k in ours)
    if isinstance(ours, list):
        return len(ours) == len(other) and all(map(equal_states, ours, other))
    return bool(ours == other)
