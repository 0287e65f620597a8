"""The decoder: object queries become boxes, scores and mask embeddings, layer by layer.

Conditional queries with iterative box refinement (DAB-DETR, Liu et al., 2022), a log-scale box
relative position bias in the attention to the image (PlainDETR, Lin et al., 2023), a presence token
that says whether the concept is there at all, and, in training, a second copy of the queries that
skips self-attention and is matched one-to-many (DAC-DETR, Hu et al., 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.core.errors import ConfigError
from maskstream.core.layers import Attention, FeedForward
from maskstream.core.linear import Linear
from maskstream.core.position import sine_position_boxes
from maskstream.detector.config import DecoderConfig
from maskstream.detector.fusion import masked_mean

MAX_PRESENCE_LOGIT = 10.0
MAX_CLASS_LOGIT = 12.0


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of x in [0, 1], kept finite at the ends."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


class Mlp(nn.Module):
    """Two or three linear layers with ReLU between them."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int, num_layers: int) -> None:
        super().__init__()
        if num_layers not in (2, 3):
            raise ConfigError(f"an MLP here has 2 or 3 layers, not {num_layers}")
        self.layer1 = Linear(in_size, hidden_size)
        self.layer2 = Linear(hidden_size, hidden_size if num_layers == 3 else out_size)
        self.layer3 = Linear(hidden_size, out_size) if num_layers == 3 else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer2(functional.relu(self.layer1(x), inplace=True))
        if self.layer3 is not None:
            out = self.layer3(functional.relu(out, inplace=True))
        return out


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """What the decoder says of K concepts with Q queries, after each of L layers.

    Outside training L is 1: only the last layer is kept. In training the queries stand twice, the
    one-to-one half first.

    Attributes:
        queries: (L, K, Q, C), normed.
        boxes: (L, K, Q, 4) cx cy w h in [0, 1].
        presence_logits: (L, K).
    """

    queries: Tensor
    boxes: Tensor
    presence_logits: Tensor


class DecoderLayer(nn.Module):
    """Post-norm layer: queries look at each other, at the prompt and at the image."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.self_attn = Attention(size, heads)
        self.self_attn_layer_norm = nn.LayerNorm(size)
        self.text_cross_attn = Attention(size, heads)
        self.text_cross_attn_layer_norm = nn.LayerNorm(size)
        self.vision_cross_attn = Attention(size, heads)
        self.vision_cross_attn_layer_norm = nn.LayerNorm(size)
        self.mlp = FeedForward(size, config.intermediate_size, config.hidden_act)
        self.mlp_layer_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)

    def look_around(self, x: Tensor, position: Tensor, num_social: int) -> Tensor:
        """Self-attention among the first ``num_social`` queries; the others only pass the norm."""
        social, lone = x[:, :num_social], x[:, num_social:]
        keyed = social + position[:, :num_social]
        social = social + self.dropout(self.self_attn(keyed, keyed, social))
        joined = torch.cat((social, lone), dim=1) if lone.shape[1] else social
        out: Tensor = self.self_attn_layer_norm(joined)
        return out

    def look_outside(
        self,
        x: Tensor,
        position: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
        image: Tensor,
        image_keys: Tensor,
        image_bias: Tensor,
    ) -> Tensor:
        """Cross-attention to prompt and image, then the feed-forward part."""
        seen = self.text_cross_attn(x + position, prompt, prompt, prompt_mask)
        x = self.text_cross_attn_layer_norm(x + self.dropout(seen))
        seen = self.vision_cross_attn(x + position, image_keys, image, image_bias)
        x = self.vision_cross_attn_layer_norm(x + self.dropout(seen))
        out: Tensor = self.mlp_layer_norm(x + self.dropout(self.mlp(x)))
        return out


class Decoder(nn.Module):
    """Object queries over fused image tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.hidden_size = size
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.output_layer_norm = nn.LayerNorm(size)
        self.box_head = Mlp(size, size, 4, 3)
        self.query_embed = nn.Embedding(config.num_queries, size)
        self.reference_points = nn.Embedding(config.num_queries, 4)
        self.presence_token = nn.Embedding(1, size)
        self.presence_head = Mlp(size, size, 1, 3)
        self.presence_layer_norm = nn.LayerNorm(size)
        self.ref_point_head = Mlp(2 * size, size, size, 2)
        self.box_rpb_embed_x = Mlp(2, size, heads, 2)
        self.box_rpb_embed_y = Mlp(2, size, heads, 2)

    def box_bias(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Attention bias of every query's box at every cell.

        Args:
            boxes: (K, Q, 4) cx cy w h.

        Returns:
            (K, heads, 1 + Q, height · width); the first row, the presence token's, is zero.
        """
        x0, y0, x1, y1 = cxcywh_to_xyxy(boxes).unbind(-1)
        rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype) / height
        columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype) / width

        def embed(mlp: Mlp, cells: Tensor, low: Tensor, high: Tensor) -> Tensor:
            delta = 8 * (cells[:, None] - torch.stack((low, high), dim=-1)[:, :, None, :])
            compressed = delta.sign() * torch.log2(delta.abs() + 1.0) / math.log2(8)
            code = mlp(compressed).permute(0, 3, 1, 2)
            # Contiguous, or the large sum of two of these takes over their strides.
            return functional.pad(code, (0, 0, 1, 0)).contiguous()

        down = embed(self.box_rpb_embed_y, rows, y0, y1)
        across = embed(self.box_rpb_embed_x, columns, x0, x1)
        return (down[..., :, None] + across[..., None, :]).flatten(-2)

    def query_position(self, boxes: Tensor) -> Tensor:
        """Where a query looks from its box, (K, Q, 4) to (K, 1 + Q, C); zero for presence."""
        code: Tensor = self.ref_point_head(sine_position_boxes(boxes, self.hidden_size))
        return functional.pad(code, (0, 0, 1, 0))

    def refine(self, boxes: Tensor, queries: Tensor) -> Tensor:
        """Boxes moved by what the normed queries say."""
        moved: Tensor = (self.box_head(queries) + inverse_sigmoid(boxes)).sigmoid()
        return moved

    def presence(self, token: Tensor) -> Tensor:
        """Presence logit (K,) of the token (K, C)."""
        logit: Tensor = self.presence_head(self.presence_layer_norm(token)).squeeze(-1)
        return logit.clamp(-MAX_PRESENCE_LOGIT, MAX_PRESENCE_LOGIT)

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        size: tuple[int, int],
        prompt: Tensor,
        valid: Tensor,
    ) -> DecoderOutput:
        """Decode K concepts.

        Nothing distinguishes the concepts before the first look outside, so the first layer's
        self-attention and box bias are computed once for all of them.

        Args:
            image: (K, h·w, C) fused.
            position: (1, h·w, C).
            size: (h, w).
            prompt: (K, T, C) with ``valid`` (K, T) bool.
        """
        num_concepts, num_queries = image.shape[0], self.query_embed.num_embeddings
        copies = 2 if self.training else 1
        x = torch.cat((self.presence_token.weight, self.query_embed.weight.repeat(copies, 1)))[None]
        boxes = self.reference_points.weight.sigmoid().repeat(copies, 1)[None]
        prompt_mask = valid[:, None, None, :]
        image_keys = image + position
        queries, all_boxes, presence = [], [], []
        for layer in cast("list[DecoderLayer]", self.layers):
            query_position = self.query_position(boxes)
            bias = self.box_bias(boxes, *size)
            x = layer.look_around(x, query_position, 1 + num_queries)
            if x.shape[0] != num_concepts:
                x = x.expand(num_concepts, -1, -1)
                boxes = boxes.expand(num_concepts, -1, -1)
            x = layer.look_outside(x, query_position, prompt, prompt_mask, image, image_keys, bias)
            normed = self.output_layer_norm(x[:, 1:])
            refined = self.refine(boxes, normed)
            boxes = refined.detach()
            if self.training or layer is self.layers[-1]:
                queries.append(normed)
                all_boxes.append(refined)
                presence.append(self.presence(x[:, 0]))
        return DecoderOutput(torch.stack(queries), torch.stack(all_boxes), torch.stack(presence))


class DotProductScoring(nn.Module):
    """Score of a query: its dot product with the pooled prompt."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.text_mlp = Mlp(size, config.intermediate_size, size, 2)
        self.text_mlp_dropout = nn.Dropout(config.dropout)
        self.text_mlp_out_norm = nn.LayerNorm(size)
        self.text_proj = Linear(size, size)
        self.query_proj = Linear(size, size)
        self.scale = size**-0.5

    def forward(self, queries: Tensor, prompt: Tensor, valid: Tensor) -> Tensor:
        """Score.

        Args:
            queries: (L, K, Q, C).
            prompt: (K, T, C) with ``valid`` (K, T) bool.

        Returns:
            Class logits (L, K, Q).
        """
        adapted = self.text_mlp_dropout(self.text_mlp(prompt)) + prompt
        pooled = masked_mean(self.text_mlp_out_norm(adapted), valid)
        logits: Tensor = (self.query_proj(queries) * self.text_proj(pooled)[:, None]).sum(-1)
        scaled: Tensor = logits * self.scale
        return scaled.clamp(-MAX_CLASS_LOGIT, MAX_CLASS_LOGIT)
