"""The text encoder: CLIP's causal transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.layers import FeedForward
from maskstream.core.linear import Linear
from maskstream.detector.config import TextConfig


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which a token sees itself and what stands before it."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.q_proj = Linear(config.hidden_size, config.hidden_size)
        self.k_proj = Linear(config.hidden_size, config.hidden_size)
        self.v_proj = Linear(config.hidden_size, config.hidden_size)
        self.out_proj = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(K, L, C) to (K, L, C)."""
        query, key, value = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class TextLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = CausalSelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(K, L, C) to (K, L, C)."""
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class TextEmbeddings(nn.Module):
    """What a token is and where it stands."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(K, L) int64 to (K, L, C)."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        out: Tensor = self.token_embedding(input_ids) + self.position_embedding(positions)
        return out


class TextLayers(nn.Module):
    """The stack of layers."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(K, L, C) to (K, L, C)."""
        for layer in self.layers:
            x = layer(x)
        return x


class TextModel(nn.Module):
    """Embeddings, layers, final norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = TextLayers(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(K, L) int64 to (K, L, C)."""
        out: Tensor = self.final_layer_norm(self.encoder(self.embeddings(input_ids)))
        return out


class TextEncoder(nn.Module):
    """Token ids to token features.

    Padding needs no mask here: it stands behind the words, and attention is causal.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.text_model = TextModel(config)
        # CLIP's projection into its joint space: part of every checkpoint, of no use to SAM 3.
        self.text_projection = Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(K, L) int64 to (K, L, C)."""
        out: Tensor = self.text_model(input_ids)
        return out
