"""The fusion encoder: image tokens look at each other and at the prompt."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from maskstream.core.layers import Attention, FeedForward
from maskstream.core.linear import Linear
from maskstream.detector.config import FusionConfig


def masked_mean(tokens: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid tokens: (K, T, C) and (K, T) bool to (K, C)."""
    weight = valid.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1.0)


class FusionLayer(nn.Module):
    """Pre-norm layer."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.layer_norm1 = nn.LayerNorm(size)
        self.self_attn = Attention(size, heads)
        self.layer_norm2 = nn.LayerNorm(size)
        self.cross_attn = Attention(size, heads)
        self.layer_norm3 = nn.LayerNorm(size)
        self.mlp = FeedForward(size, config.intermediate_size, config.hidden_act)
        self.dropout = nn.Dropout(config.dropout)

    def look_around(self, x: Tensor, position: Tensor) -> Tensor:
        """Self-attention of image tokens (·, h·w, C)."""
        normed = self.layer_norm1(x)
        keyed = normed + position
        out: Tensor = x + self.dropout(self.self_attn(keyed, keyed, normed))
        return out

    def look_at_prompt(self, x: Tensor, prompt: Tensor, may_look: Tensor) -> Tensor:
        """Cross-attention to the prompt tokens (K, T, C), then the feed-forward part."""
        x = x + self.dropout(self.cross_attn(self.layer_norm2(x), prompt, prompt, may_look))
        out: Tensor = x + self.dropout(self.mlp(self.layer_norm3(x)))
        return out


class FusionEncoder(nn.Module):
    """A stack of fusion layers."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_layers))
        if config.add_pooled_text:
            self.pooled_text_projection = Linear(config.hidden_size, config.hidden_size)
        self.add_pooled_text = config.add_pooled_text

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        prompt: Tensor,
        valid: Tensor,
        image_index: Tensor,
        pooled_text: Tensor,
    ) -> Tensor:
        """Fuse K concepts with the images they are to be found in.

        Until a concept has been looked at, its image is like any other concept's: the first
        self-attention runs once per image.

        Args:
            image: (B, h·w, C).
            position: (1, h·w, C).
            prompt: (K, T, C) with ``valid`` (K, T) bool.
            image_index: (K,) int64 into the images.
            pooled_text: (K, C), mean of the text tokens; used only with ``add_pooled_text``.

        Returns:
            (K, h·w, C).
        """
        may_look = valid[:, None, None, :]
        first, *rest = cast("list[FusionLayer]", self.layers)
        if self.add_pooled_text:
            x = image[image_index] + self.pooled_text_projection(pooled_text)[:, None]
            x = first.look_around(x, position)
        else:
            x = first.look_around(image, position)[image_index]
        x = first.look_at_prompt(x, prompt, may_look)
        for layer in rest:
            x = layer.look_at_prompt(layer.look_around(x, position), prompt, may_look)
        return x
