"""The tracker over a clip, with gradients: prompt in the first frame, memory from there on.

Unlike the memory bank, which overwrites its storage, memories are kept in lists here, so that
gradients reach back through them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from maskstream.core.types import TrackerFeatures
from maskstream.core.unfilled import unfilled
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.memory_bank import MemoryBatch
from maskstream.tracker.network.model import FrameEmbedding, TrackerModel
from maskstream.tracker.object_prompt import PREVIOUS_MASK_LIMIT
from training.clicks import deepest_cells

PROMPTS = ("mask", "point", "box")
MAX_CLICKS = 4


def config_at(config: TrackerConfig, side: int) -> TrackerConfig:
    """The same tracker for images of another size."""
    prompt = replace(config.prompt_encoder_config, image_size=side)
    return replace(config, image_size=side, prompt_encoder_config=prompt)


def tracker_at(model: TrackerModel, side: int) -> TrackerModel:
    """A tracker for another image size that shares all parameters with ``model``."""
    with unfilled():
        twin = TrackerModel(config_at(model.config, side))
    shared = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    twin.load_state_dict(shared, assign=True)
    return twin.train(model.training)


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """All that the tracker proposed for N objects in one frame.

    Attributes:
        masks: (N, K, 4h, 4w) logits, the single mask first.
        iou_scores: (N, K) predicted quality.
        object_score_logits: (N,).
        single: the single mask is the answer, as for a box; else the best of the others.
    """

    masks: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor
    single: bool


@dataclass(slots=True)
class Memories:
    """Maps and pointers of the frames so far; all masklets have those of the same frames.

    ``gap`` frames are imagined to lie between the first frame and the second, so that a first
    frame long past is met in training too.
    """

    gap: int
    maps: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)
    conditioning: list[int] = field(default_factory=lambda: [0])

    def time(self, frame: int) -> int:
        """Frame number with the gap."""
        return frame + (self.gap if frame else 0)

    def batch(self, config: TrackerConfig) -> MemoryBatch:
        """What the next frame may look at."""
        now = self.time(len(self.maps))
        chosen = self.conditioning[:1] + self.conditioning[1:][-(config.max_cond_frame_num - 1) :]
        maps = [(frame, 0) for frame in chosen]
        pointers = [(frame, now - self.time(frame)) for frame in self.conditioning]
        for frame in range(len(self.maps)):
            back = now - self.time(frame)
            if frame not in chosen and back < config.num_maskmem:
                maps.append((frame, back))
            if frame not in self.conditioning and back < config.max_object_pointers_in_encoder:
                pointers.append((frame, back))
        rows, like = len(self.maps[0]), self.pointers[0]
        reach = config.max_object_pointers_in_encoder - 1
        map_offsets = torch.tensor([o for _, o in maps], device=like.device).expand(rows, -1)
        offsets = like.new_tensor([offset / reach for _, offset in pointers]).expand(rows, -1)
        return MemoryBatch(
            maps=torch.stack([self.maps[frame] for frame, _ in maps], 1),
            map_offsets=map_offsets,
            map_valid=torch.ones_like(map_offsets, dtype=torch.bool),
            pointers=torch.stack([self.pointers[frame] for frame, _ in pointers], 1),
            pointer_offsets=offsets,
            pointer_valid=torch.ones_like(offsets, dtype=torch.bool),
            full=True,
        )


def decode_all(
    model: TrackerModel, frame: FrameEmbedding, image: Tensor, prompts: Tensor, *, single: bool
) -> tuple[FrameOutcome, Tensor]:
    """Every proposal, and the tokens (N, K, C) they come from; arguments as for the decoder."""
    decoder = model.mask_decoder
    decoded = decoder.decode(image, model._cell_positions(), prompts)
    kernels = decoder._kernels(decoded, range(decoder.num_masks))
    masks = decoder.upscale(decoded.image, frame.high_res, kernels)
    scores, there = decoded.iou_scores.float(), decoded.object_score_logits.float()
    return FrameOutcome(masks.float(), scores, there, single), decoded.mask_tokens


@dataclass(slots=True)
class Rollout:
    """One pass over a clip."""

    model: TrackerModel
    generator: torch.Generator
    prompt_rates: tuple[float, ...]
    correction_rate: float = 0.45
    center_rate: float = 0.0
    recondition_rate: float = 0.15

    def run(
        self, levels: tuple[Tensor, ...], coverage: Tensor, boxes: Tensor
    ) -> list[tuple[int, FrameOutcome]]:
        """Follow N objects.

        Args:
            levels: the tracker's neck's maps of T frames, fine to coarse, (T, C, ·, ·).
            coverage: (T, N, 4h, 4w), the truth, which prompts and early memories are made of.
            boxes: (N, 4) x0 y0 x1 y1 pixels, in the first frame.

        Returns:
            What was proposed, each time with the number of its frame. Nothing for a first frame
            whose mask was given, and one more after each correcting click.
        """
        outcomes: list[tuple[int, FrameOutcome]] = []
        memories = Memories(gap=self._draw_gap())
        for t in range(len(coverage)):
            fine, middle, coarse = (level[t : t + 1] for level in levels)
            frame = self.model.embed(TrackerFeatures((fine, middle, coarse)))
            visible = coverage[t].flatten(1).sum(1) >= 1.0
            if t == 0:
                first, mask, pointer = self._first(frame, coverage[0], boxes)
                outcomes += [(0, outcome) for outcome in first]
            else:
                image = self.model._remember(frame, memories.batch(self.model.config))
                image = image + self.model.prompt_encoder.no_mask()
                prompts = self.model.prompt_encoder.no_points().expand(len(visible), -1, -1)
                outcome, tokens = decode_all(self.model, frame, image, prompts, single=False)
                there = self._there(outcome, visible)
                mask, pointer = self._answer(outcome, tokens, there)
                outcomes.append((t, outcome))
            if t + 1 == len(coverage):
                break
            score = torch.where(mask.flatten(1).amax(1) > 0, 10.0, -10.0)
            maps = self.model.encode_memory(frame, mask, score, binarize=not outcomes)
            memories.maps.append(maps)
            memories.pointers.append(pointer.float())
            if t and self._chance() < self.recondition_rate:
                memories.conditioning.append(t)
        return outcomes

    def _chance(self) -> float:
        return float(torch.rand((), generator=self.generator))

    def _draw_gap(self) -> int:
        return int(300 * self._chance() ** 3) if self._chance() < 0.5 else 0

    def _there(self, outcome: FrameOutcome, visible: Tensor) -> Tensor:
        """Whether each object counts as seen: by the truth or by the model's own word."""
        return visible if self._chance() < 0.5 else outcome.object_score_logits.detach() > 0

    def _first(
        self, frame: FrameEmbedding, coverage: Tensor, boxes: Tensor
    ) -> tuple[list[FrameOutcome], Tensor, Tensor]:
        """The prompted frame: outcomes, mask logits (N, 4h, 4w), pointers (N, C)."""
        rates = torch.tensor(self.prompt_rates)
        kind = PROMPTS[int(torch.multinomial(rates, 1, generator=self.generator))]
        if kind == "mask":
            cut = 0.35 + 0.3 * self._chance()
            given = self.model.from_masks(frame, (coverage >= cut).float())
            return [], given.low_res_masks.float(), given.object_pointers
        if kind == "box":
            size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            noise = (torch.rand(boxes.shape, generator=self.generator) - 0.5).to(boxes.device)
            points = (boxes + 0.16 * noise * size).unflatten(1, (2, 2))
            labels = torch.tensor([2, 3], device=boxes.device).expand(len(boxes), -1)
        else:
            cells = self._pick_cells(coverage >= 0.9 * coverage.amax((1, 2), keepdim=True))
            points, labels = self._clicks(coverage, cells)
        outcome, mask, pointer = self._prompted(frame, points, labels, None)
        outcomes = [outcome]
        while self._chance() < self.correction_rate and len(outcomes) < MAX_CLICKS:
            # A click where the answer is wrong, on top of the clicks and the answer so far, or
            # of the clicks alone, as when they are all given at once.
            wrong = (mask > 0) != (coverage >= 0.5)
            click, label = self._clicks(coverage, self._pick_cells(wrong))
            points, labels = torch.cat((points, click), 1), torch.cat((labels, label), 1)
            previous = mask.detach() if self._chance() < 0.6 else None
            outcome, mask, pointer = self._prompted(frame, points, labels, previous)
            outcomes.append(outcome)
        return outcomes, mask, pointer

    def _prompted(
        self, frame: FrameEmbedding, points: Tensor, labels: Tensor, previous: Tensor | None
    ) -> tuple[FrameOutcome, Tensor, Tensor]:
        """The answer to clicks (a box is two of them) on a frame without memory."""
        encoder = self.model.prompt_encoder
        dense = encoder.no_mask()
        if previous is not None:
            dense = encoder.masks(previous.clamp(-PREVIOUS_MASK_LIMIT, PREVIOUS_MASK_LIMIT))
        image = frame.image.flatten(2).transpose(1, 2) + self.model.no_memory_embedding + dense
        single = points.shape[1] > 1
        outcome, tokens = decode_all(
            self.model, frame, image, encoder.points(points, labels), single=single
        )
        there = torch.ones(len(points), dtype=torch.bool, device=points.device)
        mask, pointer = self._answer(outcome, tokens, there)
        return outcome, mask, pointer

    def _pick_cells(self, allowed: Tensor) -> Tensor:
        """An allowed cell of each (H, W) map, the deepest or a random one, or any cell where none
        is; (N, 1) flat.
        """
        if self._chance() < self.center_rate:
            place = deepest_cells(allowed).long()
            return (place[:, 1] * allowed.shape[-1] + place[:, 0])[:, None]
        weight = allowed.flatten(1).float() + 1e-6
        # The generator is the CPU's, so that a run draws the same on any device.
        return torch.multinomial(weight.cpu(), 1, generator=self.generator).to(allowed.device)

    def _clicks(self, coverage: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Clicks at cells: (N, 1, 2) pixels, and (N, 1) whether they are on the object."""
        width = coverage.shape[-1]
        within = torch.rand(*cells.shape, 2, generator=self.generator).to(cells.device)
        xy = torch.stack((cells % width, cells // width), -1) + within
        labels = (coverage.flatten(1).gather(1, cells) >= 0.5).long()
        return xy * (self.model.config.image_size / width), labels

    def _answer(
        self, outcome: FrameOutcome, tokens: Tensor, there: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The chosen mask's logits and pointer, as in inference."""
        rows = torch.arange(len(there), device=there.device)
        best = outcome.iou_scores[:, 1:].argmax(1) + 1
        chosen = torch.zeros_like(best) if outcome.single else best
        mask = outcome.masks[rows, chosen].masked_fill(~there[:, None, None], -1024.0)
        return mask, self.model._pointers(tokens[rows, chosen], there)
