"""The geometry encoder: points, boxes and masks given as exemplars become prompt tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.core.errors import PromptError
from maskstream.core.layers import Attention, FeedForward
from maskstream.core.linear import Linear
from maskstream.core.position import sine_encode
from maskstream.detector.config import GeometryConfig
from maskstream.detector.prompts import Exemplars, GeometryPrompts
from maskstream.detector.roi_align import roi_align


class GeometryLayer(nn.Module):
    """Pre-norm layer: exemplars look at each other, then at the image."""

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.layer_norm1 = nn.LayerNorm(size)
        self.self_attn = Attention(size, heads)
        self.layer_norm2 = nn.LayerNorm(size)
        self.cross_attn = Attention(size, heads)
        self.layer_norm3 = nn.LayerNorm(size)
        self.mlp = FeedForward(size, config.intermediate_size, config.hidden_act)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, image: Tensor, image_keys: Tensor, may_look: Tensor) -> Tensor:
        """One layer.

        Args:
            x: (K, T, C) exemplar tokens.
            image: (K, h·w, C); ``image_keys`` the same with positions added.
            may_look: (K, 1, 1, T) bool, False on padding.
        """
        normed = self.layer_norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, normed, may_look))
        x = x + self.dropout(self.cross_attn(self.layer_norm2(x), image_keys, image))
        out: Tensor = x + self.dropout(self.mlp(self.layer_norm3(x)))
        return out


def _turns(values: Tensor, num_features: int) -> Tensor:
    return sine_encode(values * (2 * math.pi), num_features)


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes, cx cy w h normalised, of masks (K, N, H, W); empty masks give zeros."""
    spans = []
    for axis in (-2, -1):
        hit = (masks > 0).any(dim=axis)
        size = hit.shape[-1]
        cells = torch.arange(size, device=masks.device)
        first = torch.where(hit, cells, size).amin(-1)
        last = torch.where(hit, cells + 1, 0).amax(-1)
        found = last > first
        spans.append((torch.where(found, first, 0) / size, torch.where(found, last, 0) / size))
    (x0, x1), (y0, y1) = spans
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


class GeometryEncoder(nn.Module):
    """Exemplars to prompt tokens, closed by a CLS token that is there in any case.

    Every exemplar is the sum of a direct projection of its coordinates, of the image features
    under it and of a sine encoding of where it is, plus an embedding of its label.
    """

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.label_embed = nn.Embedding(2, size)
        self.cls_embed = nn.Embedding(1, size)
        self.boxes_direct_project = Linear(4, size)
        self.boxes_pool_project = nn.Conv2d(size, size, config.roi_size)
        self.boxes_pos_enc_project = Linear(size + 2, size)
        if config.encode_points:
            self.points_direct_project = Linear(2, size)
            self.points_pool_project = Linear(size, size)
            self.points_pos_enc_project = Linear(size, size)
        if config.encode_masks:
            self.masks_pool_project = Linear(size, size)
        self.vision_layer_norm = nn.LayerNorm(size)
        self.final_proj = Linear(size, size)
        self.prompt_layer_norm = nn.LayerNorm(size)
        self.layers = nn.ModuleList(GeometryLayer(config) for _ in range(config.num_layers))
        self.output_layer_norm = nn.LayerNorm(size)

    def encode_points(self, points: Exemplars, image: Tensor) -> Tensor:
        """Points on normed image features (K, C, h, w) to (K, N, C)."""
        if not self.config.encode_points:
            raise PromptError(
                "this checkpoint has no projections for points as exemplars of a concept; "
                "give a box instead"
            )
        tokens = self.points_direct_project(points.values)
        grid = (points.values * 2 - 1).unsqueeze(2).to(image.dtype)
        sampled = functional.grid_sample(image, grid, align_corners=False).squeeze(-1)
        tokens = tokens + self.points_pool_project(sampled.transpose(1, 2))
        x, y = points.values.unbind(-1)
        half = self.config.hidden_size // 2
        code = torch.cat((_turns(x, half), _turns(y, half)), dim=-1)
        out: Tensor = tokens + self.points_pos_enc_project(code)
        return out

    def encode_boxes(self, boxes: Tensor, image: Tensor) -> Tensor:
        """Boxes (K, N, 4) cx cy w h on normed image features (K, C, h, w) to (K, N, C)."""
        num_concepts, count = boxes.shape[:2]
        height, width = image.shape[-2:]
        cells = cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height])
        index = torch.arange(num_concepts, device=boxes.device).repeat_interleave(count)
        pooled = roi_align(image, cells.flatten(0, 1), index, self.config.roi_size)
        tokens = self.boxes_direct_project(boxes)
        tokens = tokens + self.boxes_pool_project(pooled).view(num_concepts, count, -1)
        cx, cy, box_width, box_height = boxes.unbind(-1)
        half = self.config.hidden_size // 2
        code = torch.cat(
            (_turns(cy, half), _turns(cx, half), box_height[..., None], box_width[..., None]), -1
        )
        out: Tensor = tokens + self.boxes_pos_enc_project(code)
        return out

    def encode_masks(self, masks: Tensor, image: Tensor) -> Tensor:
        """Masks (K, N, H, W) on normed image features (K, C, h, w) to (K, N, C).

        A mask is its bounding box and, where the checkpoint can, the mean of what it covers.
        """
        tokens = self.encode_boxes(mask_boxes(masks).to(image.dtype), image)
        if not self.config.encode_masks:
            return tokens
        height, width = image.shape[-2:]
        weight = functional.adaptive_avg_pool2d(masks.to(image.dtype), (height, width)).flatten(2)
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
        mean = weight @ image.flatten(2).transpose(1, 2)
        out: Tensor = tokens + self.masks_pool_project(mean)
        return out

    def embed(self, prompts: GeometryPrompts, image: Tensor) -> tuple[Tensor, Tensor]:
        """All exemplars, before they look at each other: tokens (K, N, C), valid (K, N)."""
        normed = self.vision_layer_norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        tokens = []
        if prompts.points is not None:
            tokens.append(self.encode_points(prompts.points, normed))
        if prompts.boxes is not None:
            tokens.append(self.encode_boxes(prompts.boxes.values, normed))
        if prompts.masks is not None:
            tokens.append(self.encode_masks(prompts.masks.values, normed))
        labels = torch.cat([kind.labels for kind in prompts.kinds], dim=1)
        valid = torch.cat([kind.valid for kind in prompts.kinds], dim=1)
        return torch.cat(tokens, dim=1) + self.label_embed(labels), valid

    def forward(
        self, prompts: GeometryPrompts | None, image: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode the exemplars of K concepts.

        Args:
            prompts: None gives the CLS token alone.
            image: (K, C, h, w), the image each concept is to be found in.
            position: (1, C, h, w).

        Returns:
            Tokens (K, N + 1, C), the last of them the CLS token, and valid (K, N + 1) bool.
        """
        num_concepts = image.shape[0]
        tokens = self.cls_embed.weight.expand(num_concepts, 1, -1)
        valid = torch.ones(num_concepts, 1, dtype=torch.bool, device=image.device)
        if prompts is not None:
            given, given_valid = self.embed(prompts, image)
            tokens = torch.cat((given, tokens), dim=1)
            valid = torch.cat((given_valid, valid), dim=1)
        x = self.prompt_layer_norm(self.final_proj(tokens))
        image_tokens = image.flatten(2).transpose(1, 2)
        image_keys = image_tokens + position.flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, image_tokens, image_keys, valid[:, None, None, :])
        return self.output_layer_norm(x), valid
