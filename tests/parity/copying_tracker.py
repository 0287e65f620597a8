"""A small tracker whose masks follow its memory, made without training.

With random weights all masklets soon have the same mask, whatever they started from. Here memory
attention looks at the place in memory that it stands on (constant queries and keys, so that the
rotary embedding alone decides), the decoder is turned towards what a mask changes there, and the
last layer is fitted by least squares. All else stays random.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from maskstream.core.types import TrackerFeatures
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.frame_memory import remember_drawn
from maskstream.tracker.network.memory_bank import MemoryBank
from maskstream.tracker.network.model import TrackerModel
from tests.parity.reference_tracker import randomise, tracker_config

CELLS = 8
SIZE = 4 * CELLS
FOCUS = 5.0
"""Size of the constant query and key: how narrowly memory attention looks around itself."""


def disc(x: float, y: float, radius: float) -> Tensor:
    """(SIZE, SIZE) float, 1 inside; in parts of the frame's side."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    inside = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2 < radius**2
    return inside.float()


def moving_scene(config: TrackerConfig, num_frames: int, seed: int) -> list[TrackerFeatures]:
    """Smooth feature maps that change slowly."""
    generator = torch.Generator().manual_seed(seed)
    height, width = config.grid
    waves = torch.randn(5, 1, config.fpn_hidden_size, 4, 4, generator=generator)
    frames = []
    for index in range(num_frames):
        scene = waves[0].clone()
        for number, wave in enumerate(waves[1:]):
            phase = 2 * math.pi * index / (60 * (0.6 + 0.35 * number)) + number
            scene += 0.7 * math.sin(phase) * wave
        levels = [
            0.6 * F.interpolate(scene, size=(scale * height, scale * width), mode="bicubic")
            for scale in (4, 2, 1)
        ]
        frames.append(TrackerFeatures(levels=(levels[0], levels[1], levels[2])))
    return frames


@torch.no_grad()
def copying_tracker(seed: int, num_frames: int) -> tuple[TrackerModel, list[TrackerFeatures]]:
    """The tracker and a video for it."""
    config = tracker_config(cells=CELLS, memory_attention_num_layers=1)
    model = TrackerModel(config).eval()
    randomise(model, seed)
    video = moving_scene(config, num_frames, seed + 1)
    _look_where_it_stands(model)
    _quieten_the_decoder(model)
    _turn_to_memory(model, video)
    _fit_masks(model, video)
    _spread_scores(model, video, seed)
    return model, video


def _look_where_it_stands(model: TrackerModel) -> None:
    model.memory_encoder.feature_projection.weight *= 0.3
    for layer in model.memory_attention.layers:
        layer.self_attn.o_proj.weight *= 0.2
        layer.linear2.weight *= 0.2
        cross = layer.cross_attn_image
        constant = FOCUS * torch.tensor([1.0, 0.0]).repeat(cross.q_proj.bias.numel() // 2)
        for projection in (cross.q_proj, cross.k_proj):
            projection.weight *= 0.02
            projection.bias.copy_(constant)
        cross.v_proj.weight *= 1.5
        cross.o_proj.weight *= 1.5


def _quieten_the_decoder(model: TrackerModel) -> None:
    decoder = model.mask_decoder
    for layer in decoder.transformer.layers:
        layer.cross_attn_image_to_token.o_proj.weight *= 0.2
    decoder.conv_s0.weight *= 0.1
    decoder.conv_s1.weight *= 0.2
    for up in (decoder.upscale_conv1, decoder.upscale_conv2):
        # Much alike at the four places that a cell becomes, so that one sign holds for all.
        up.weight.copy_(1.5 * up.weight[:, :, :1, :1] + 0.15 * up.weight)
    # One channel is constant: where the fit puts its threshold.
    decoder.conv_s0.weight[0] = 0
    decoder.conv_s0.bias[0] = 0
    decoder.upscale_conv2.weight[:, 0] = 0
    decoder.upscale_conv2.bias[0] = 3
    for head in decoder.output_hypernetworks_mlps:
        head.proj_out.weight.zero_()
    decoder.pred_obj_score_head.proj_out.weight.zero_()
    decoder.pred_obj_score_head.proj_out.bias.fill_(5)


def _bank_with(
    model: TrackerModel, features: TrackerFeatures, frame_index: int, masks: Tensor
) -> MemoryBank:
    frame = model.embed(features)
    memory = remember_drawn(model, frame, masks, model.from_masks(frame, masks))
    bank = MemoryBank(model.config, model.grid)
    bank.append_rows(len(masks))
    rows = range(len(masks))
    bank.write(rows, frame_index, memory.maps, memory.pointers, conditioning=True)
    return bank


def _turn_to_memory(model: TrackerModel, video: list[TrackerFeatures]) -> None:
    """Let upscaling look at what an object in memory changes in the decoded image."""
    masks = torch.stack([disc(0.5, 0.5, 0.3), torch.zeros(SIZE, SIZE)])
    inside = F.avg_pool2d(masks[:1, None], 4).flatten() > 0.9
    changes = []
    for index in range(0, len(video) - 1, 6):
        memory = _bank_with(model, video[index], index, masks).gather(index + 1, reverse=False)
        seen: list[Tensor] = []
        handle = model.mask_decoder.transformer.register_forward_hook(
            lambda module, arguments, output, seen=seen: seen.append(output[1])
        )
        model.propagate(model.embed(video[index + 1]), memory)
        handle.remove()
        changes.append((seen[0][0] - seen[0][1])[inside].mean(0))
    change = torch.stack(changes).mean(0)
    up = model.mask_decoder.upscale_conv1
    towards = torch.randn(up.weight.shape[1], generator=torch.Generator().manual_seed(5))
    up.weight += 0.6 * torch.outer(change / change.norm(), towards)[:, :, None, None]


def _fit_masks(model: TrackerModel, video: list[TrackerFeatures]) -> None:
    """Fit the constant kernel of all mask heads so that masks come out as they are remembered."""
    generator = torch.Generator().manual_seed(3)
    heads = model.mask_decoder.output_hypernetworks_mlps
    num_channels = heads[0].proj_out.bias.numel()
    inputs, targets = [], []
    for index in range(0, len(video) - 1, 8):
        places = torch.rand(5, 3, generator=generator).tolist()
        masks = torch.stack([disc(0.1 + 0.8 * x, 0.1 + 0.8 * y, 0.1 + r / 6) for x, y, r in places])
        memory = _bank_with(model, video[index], index, masks).gather(index + 1, reverse=False)
        frame = model.embed(video[index + 1])
        channels = []
        for channel in range(num_channels):
            for head in heads:
                head.proj_out.bias.zero_()
                head.proj_out.bias[channel] = 1
            channels.append(model.propagate(frame, memory).low_res_masks)
        inputs.append(torch.stack(channels, -1).flatten(0, 2))
        targets.append((8 * masks - 4).flatten())
    x, y = torch.cat(inputs), torch.cat(targets)
    weights = 1 + 3 * (y > 0)
    normal = x.T @ (weights[:, None] * x) + 0.01 * len(x) * torch.eye(num_channels)
    kernel = torch.linalg.solve(normal, x.T @ (weights * y))
    for head in heads:
        head.proj_out.bias.copy_(1.2 * kernel)


def _spread_scores(model: TrackerModel, video: list[TrackerFeatures], seed: int) -> None:
    """Object scores that differ from object to object and now and then fall below zero."""
    score = model.mask_decoder.pred_obj_score_head.proj_out
    generator = torch.Generator().manual_seed(seed)
    score.weight.copy_(torch.randn(score.weight.shape, generator=generator))
    places = [(0.3, 0.3, 0.2), (0.7, 0.4, 0.15), (0.5, 0.8, 0.1)]
    masks = torch.stack([disc(*place) for place in places])
    logits = []
    for index in range(0, len(video) - 1, 6):
        memory = _bank_with(model, video[index], index, masks).gather(index + 1, reverse=False)
        logits.append(model.propagate(model.embed(video[index + 1]), memory).object_score_logits)
    found = torch.stack(logits)
    scale = 1.2 / found.std()
    score.weight *= scale
    score.bias.copy_(1.7 - scale * (found.mean() - score.bias))
