"""SAM 3.1's memory attention: a frame's features look at what each bucket remembers.

Keys are "decoupled": each is the sum of a projection of the memory map and one of the image that
the map was made from. Values come from the map alone.

Shapes below: G buckets that remember the same frames, L = h*w cells of the frame, T maps and P
pointer tokens, C channels.

What is done once for all buckets: the first self-attention, the image's share of queries and keys,
and the share that positions have in keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.derived import Derived
from maskstream.core.layers import activation
from maskstream.core.linear import Linear
from maskstream.tracker.network.memory_attention import rotate, rotations
from maskstream.tracker.network.multiplex.config import MultiplexConfig


@dataclass(frozen=True, slots=True)
class BucketTokens:
    """What G buckets remember.

    Attributes:
        frames: T frames that the maps are of.
        temporal: T indices of the maps' temporal positions.
        maps: (G, T, L, C).
        pointers: (G, P, C), a token for each slot and frame; zeros where no object was.
        pointer_position: (1, P, C), what is added to pointers where they are keys.
    """

    frames: Sequence[int]
    temporal: Sequence[int]
    maps: Tensor
    pointers: Tensor
    pointer_position: Tensor


class DecoupledLayer(nn.Module):
    """Self-attention, attention to memory, feed-forward; pre-norm."""

    def __init__(self, config: MultiplexConfig) -> None:
        super().__init__()
        hidden, wide = config.fpn_hidden_size, config.memory_attention_feed_forward_hidden_size
        self.num_heads = config.memory_attention_num_attention_heads
        self.self_attn_q_proj = Linear(hidden, hidden)
        self.self_attn_k_proj = Linear(hidden, hidden)
        self.self_attn_v_proj = Linear(hidden, hidden)
        self.self_attn_out_proj = Linear(hidden, hidden)
        self.cross_attn_q_proj = Linear(hidden, hidden)
        self.cross_attn_k_proj = Linear(hidden, hidden)
        self.cross_attn_v_proj = Linear(hidden, hidden)
        self.cross_attn_out_proj = Linear(hidden, hidden)
        self.image_cross_attn_q_proj = Linear(hidden, hidden)
        self.image_cross_attn_k_proj = Linear(hidden, hidden)
        self.linear1 = Linear(hidden, wide)
        self.linear2 = Linear(wide, hidden)
        self.layer_norm1 = nn.LayerNorm(hidden)
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.layer_norm3 = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(config.memory_attention_dropout)
        self.activation = activation(config.memory_attention_feed_forward_hidden_act)

    def to_self(self, x: Tensor, turns: Tensor) -> Tensor:
        """(G, L, C) and what self-attention adds to it."""
        normed = self.layer_norm1(x)
        q = rotate(self.self_attn_q_proj(normed), turns, self.num_heads)
        k = rotate(self.self_attn_k_proj(normed), turns, self.num_heads)
        attended = self._attend(q, k, self.self_attn_v_proj(normed))
        out: Tensor = x + self.dropout(self.self_attn_out_proj(attended))
        return out

    def to_memory(
        self,
        x: Tensor,
        image_query: Tensor,
        memory: BucketTokens,
        map_keys: Sequence[Tensor],
        turns: Tensor,
    ) -> Tensor:
        """The rest of the layer.

        Args:
            x: (G or 1, L, C).
            image_query: (1, L, C), the image's share of the queries.
            memory: of G buckets.
            map_keys: T of (L, C), what image and position add to the keys of maps, turned.
            turns: of :func:`maskstream.tracker.network.memory_attention.rotations`.

        Returns:
            (G, L, C).
        """
        maps = memory.maps.to(x.dtype)
        q = rotate(image_query + self.cross_attn_q_proj(self.layer_norm2(x)), turns, self.num_heads)
        keys = rotate(self.cross_attn_k_proj(maps), turns, self.num_heads) + torch.stack(
            list(map_keys)
        )
        pointer_keys = self.cross_attn_k_proj(memory.pointers) + memory.pointer_position
        # The image stands behind no pointer: its key is a projection of zeros, the bias.
        pointer_keys = pointer_keys + self.image_cross_attn_k_proj.bias
        k = torch.cat((keys.flatten(1, 2), pointer_keys), dim=1)
        v = self.cross_attn_v_proj(torch.cat((maps.flatten(1, 2), memory.pointers), dim=1))
        attended = self._attend(q.expand(len(maps), -1, -1), k, v)
        x = x + self.dropout(self.cross_attn_out_proj(attended))
        wide = self.activation(self.linear1(self.layer_norm3(x)))
        out: Tensor = x + self.dropout(self.linear2(self.dropout(wide)))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = functional.scaled_dot_product_attention(q, k, v)
        return attended.transpose(1, 2).flatten(2)


class DecoupledMemoryAttention(nn.Module):
    """Layers of memory attention over a frame's coarsest features."""

    def __init__(self, config: MultiplexConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.theta = config.rope_theta
        self.num_heads = config.memory_attention_num_attention_heads
        self.head_dim = config.fpn_hidden_size // self.num_heads
        self.layers = nn.ModuleList(
            DecoupledLayer(config) for _ in range(config.memory_attention_num_layers)
        )
        self.layer_norm = nn.LayerNorm(config.fpn_hidden_size)
        self._placed: Derived[Tensor] = Derived()

    def forward(
        self,
        image: Tensor,
        image_position: Tensor,
        memories: Sequence[BucketTokens],
        images: Mapping[int, Tensor],
        position: Tensor,
    ) -> list[Tensor]:
        """Condition the frame's features on the memory of each group of buckets.

        Args:
            image: (1, L, C).
            image_position: (1, L, C), sine encoding.
            memories: groups of buckets.
            images: (L, C) features of every frame that any of them remembers.
            position: (num_maskmem, L, C), position of memory maps in the frame and in time.

        Returns:
            (G, L, C) for each group.
        """
        layers = [layer for layer in self.layers if isinstance(layer, DecoupledLayer)]
        turns = rotations(*self.grid, self.head_dim, self.theta, image.device)
        placed = self._placed.of(
            (position,), lambda: rotate(position.contiguous(), turns, self.num_heads)
        )
        # The first self-attention sees the same in all groups.
        start = layers[0].to_self(image + 0.1 * image_position, turns)
        states = [start] * len(memories)
        for number, layer in enumerate(layers):
            image_query = layer.image_cross_attn_q_proj(image)
            image_keys = {
                frame: rotate(
                    layer.image_cross_attn_k_proj(seen[None].to(image.dtype)), turns, self.num_heads
                )[0]
                for frame, seen in images.items()
            }
            for group, memory in enumerate(memories):
                x = states[group] if number == 0 else layer.to_self(states[group], turns)
                map_keys = [
                    image_keys[frame] + placed[time]
                    for frame, time in zip(memory.frames, memory.temporal, strict=True)
                ]
                states[group] = layer.to_memory(x, image_query, memory, map_keys, turns)
        return [self.layer_norm(x) for x in states]
