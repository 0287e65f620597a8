"""The mask decoder: tokens and image look at each other, then tokens are turned into masks.

Everything works on token-major tensors (N, cells, channels). The two transposed convolutions of
the upscaling have kernel and stride 2, so each is a linear layer that makes four output pixels of
every input pixel; their outputs stay in the order (cell, sub-cell, sub-sub-cell, channels) and
are put in their places only when one channel is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.derived import Derived
from maskstream.core.layers import LayerNorm2d
from maskstream.core.linear import Linear, linear, packed, products
from maskstream.tracker.config import MaskDecoderConfig


@dataclass(frozen=True, slots=True)
class DecodedTokens:
    """What the transformer made of N masklets.

    Attributes:
        image: (N, h*w, C), the image after attention.
        mask_tokens: (N, K, C), one for every mask that can be proposed; the first is the single
            mask.
        iou_scores: (N, K) in [0, 1], predicted quality of every mask.
        object_score_logits: (N,), > 0: the object is in the frame.
    """

    image: Tensor
    mask_tokens: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor


class Mlp(nn.Module):
    """``num_layers`` linear layers with ReLU between them."""

    def __init__(self, size_in: int, size_hidden: int, size_out: int, num_layers: int) -> None:
        super().__init__()
        self.proj_in = Linear(size_in, size_hidden)
        self.layers = nn.ModuleList(Linear(size_hidden, size_hidden) for _ in range(num_layers - 2))
        self.proj_out = Linear(size_hidden, size_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_in(x, relu=True)
        for layer in self.layers:
            x = layer(x, relu=True)
        out: Tensor = self.proj_out(x)
        return out


class DecoderAttention(nn.Module):
    """The projections of one attention; what is attended to is projected by the caller."""

    def __init__(self, hidden_size: int, num_heads: int, internal_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = Linear(hidden_size, internal_size)
        self.k_proj = Linear(hidden_size, internal_size)
        self.v_proj = Linear(hidden_size, internal_size)
        self.o_proj = Linear(internal_size, hidden_size)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with projected queries (N, L, I), keys and values (N, S, I); gives (N, L, C)."""
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return out


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, config: MaskDecoderConfig, first: bool) -> None:
        super().__init__()
        hidden, heads = config.hidden_size, config.num_attention_heads
        inner = hidden // config.attention_downsample_rate
        self.first = first
        self.self_attn = DecoderAttention(hidden, heads, hidden)
        self.layer_norm1 = nn.LayerNorm(hidden)
        self.cross_attn_token_to_image = DecoderAttention(hidden, heads, inner)
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.mlp = Mlp(hidden, config.mlp_dim, hidden, config.num_hidden_layers)
        self.layer_norm3 = nn.LayerNorm(hidden)
        self.layer_norm4 = nn.LayerNorm(hidden)
        self.cross_attn_image_to_token = DecoderAttention(hidden, heads, inner)
        self._merged: Derived[tuple[Tensor, Tensor]] = Derived()

    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One round.

        Args:
            tokens: (N, L, C).
            image: (N or 1, h*w, C); 1 where all masklets still see the same.
            token_position: (N, L, C).
            image_position: (h*w, C).

        Returns:
            tokens (N, L, C) and image (N, h*w, C).
        """
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        # The image's key, value and query come out of one product; what its position adds to key
        # and query is the same for all masklets.
        layers = (to_image.k_proj, to_image.v_proj, to_tokens.q_proj)
        key, value, query = project_image(image, image_position, layers, self._merged)
        tokens = self.layer_norm1(self._attend_to_self(tokens, token_position))
        n = len(tokens)
        asked = to_image.q_proj(tokens + token_position)
        answer = to_image(asked, key.expand(n, -1, -1), value.expand(n, -1, -1))
        tokens = self.layer_norm2(tokens + answer)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        told = to_tokens(
            query.expand(n, -1, -1),
            to_tokens.k_proj(tokens + token_position),
            to_tokens.v_proj(tokens),
        )
        return tokens, self.layer_norm4(image + told)

    def _attend_to_self(self, tokens: Tensor, position: Tensor) -> Tensor:
        attn = self.self_attn
        placed = tokens if self.first else tokens + position
        attended: Tensor = attn(attn.q_proj(placed), attn.k_proj(placed), attn.v_proj(tokens))
        return attended if self.first else tokens + attended


def project_image(
    image: Tensor,
    position: Tensor,
    layers: Sequence[nn.Linear],
    merged: Derived[tuple[Tensor, Tensor]],
) -> tuple[Tensor, ...]:
    """Several projections of the image at once, all but the value's with the position added.

    Args:
        image: (N, h*w, C).
        position: (h*w, C).
        layers: key, value, queries.
        merged: where their common weight is kept, and what position and biases add.

    Returns:
        For each layer (N, h*w, I).
    """
    key, value, *queries = layers
    weights, biases = tuple(x.weight for x in layers), tuple(x.bias for x in layers)

    def merge() -> tuple[Tensor, Tensor]:
        placed = torch.cat(
            [key.weight, torch.zeros_like(value.weight), *(q.weight for q in queries)]
        )
        return packed(torch.cat(weights)), linear(position, placed, torch.cat(biases))

    weight, offset = merged.of((position, *weights, *biases), merge)
    projected = linear(image, weight) + offset
    parts: tuple[Tensor, ...] = projected.split([x.out_features for x in layers], dim=-1)
    return parts


class TwoWayTransformer(nn.Module):
    """Blocks of two-way attention and a last look of the tokens at the image."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(config, first=i == 0) for i in range(config.num_hidden_layers)
        )
        inner = config.hidden_size // config.attention_downsample_rate
        self.final_attn_token_to_image = DecoderAttention(
            config.hidden_size, config.num_attention_heads, inner
        )
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size)
        self._merged: Derived[tuple[Tensor, Tensor]] = Derived()

    def forward(
        self, tokens: Tensor, image: Tensor, image_position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (N, L, C) and image (N, h*w, C) after attention; arguments as for a block."""
        token_position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position)
        last = self.final_attn_token_to_image
        key, value = project_image(image, image_position, (last.k_proj, last.v_proj), self._merged)
        attended = last(last.q_proj(tokens + token_position), key, value)
        return self.layer_norm_final_attn(tokens + attended), image


class MaskHeads(nn.Module):
    """Tokens, two-way transformer, upscaling and heads: what all mask decoders are made of.

    Args:
        config: sizes.
        num_masks: masks that are proposed for an object.
        num_objects: objects that are decoded together, each with tokens of its own.
    """

    def __init__(self, config: MaskDecoderConfig, num_masks: int, num_objects: int = 1) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.config = config
        self.num_masks = num_masks
        self.iou_token = nn.Embedding(num_objects, hidden)
        self.mask_tokens = nn.Embedding(num_objects * num_masks, hidden)
        self.obj_score_token = nn.Embedding(num_objects, hidden)
        self.transformer = TwoWayTransformer(config)
        self.conv_s0 = nn.Conv2d(hidden, hidden // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(hidden, hidden // 4, kernel_size=1)
        self.upscale_conv1 = nn.ConvTranspose2d(hidden, hidden // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(hidden // 4)
        self.upscale_conv2 = nn.ConvTranspose2d(hidden // 4, hidden // 8, kernel_size=2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp(hidden, hidden, hidden // 8, 3) for _ in range(num_masks)
        )
        self.iou_prediction_head = Mlp(
            hidden, config.iou_head_hidden_dim, num_masks, config.iou_head_depth
        )
        self.pred_obj_score_head = Mlp(hidden, hidden, 1, 3)
        self._taps1: Derived[Tensor] = Derived()
        self._taps2: Derived[Tensor] = Derived()

    def upscale(self, image: Tensor, fine: tuple[Tensor, Tensor], kernels: Tensor) -> Tensor:
        """Upscale the image by 4 and apply the kernels to every pixel.

        Args:
            image: (N, h*w, C).
            fine: (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w), of the frame.
            kernels: (N, K, C/8).

        Returns:
            (N, K, 4h, 4w) mask logits.
        """
        s0, s1 = fine
        height, width = s1.shape[-2] // 2, s1.shape[-1] // 2
        # (h, dy, w, dx) → (h, w, dy, dx) and one level deeper for the finest map.
        s1 = s1[0].unflatten(2, (width, 2)).unflatten(1, (height, 2)).permute(1, 3, 2, 4, 0)
        s0 = s0[0].unflatten(2, (width, 2, 2)).unflatten(1, (height, 2, 2))
        s0 = s0.permute(1, 4, 2, 5, 3, 6, 0)
        x = _four_of_one(image, self.upscale_conv1, s1.reshape(height * width, -1), self._taps1)
        x = x.unflatten(-1, (4, -1))
        norm = self.upscale_layer_norm
        x = functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        s0 = s0.reshape(height * width, 4, -1)
        x = _four_of_one(functional.gelu(x), self.upscale_conv2, s0, self._taps2)
        x = functional.gelu(x).unflatten(-1, (4, -1)).flatten(1, 3)
        masks = products(x, kernels).transpose(1, 2)
        masks = masks.unflatten(2, (height, width, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        out: Tensor = masks.reshape(*kernels.shape[:2], 4 * height, 4 * width)
        return out


class MaskDecoder(MaskHeads):
    """Masks of one object, their predicted quality and the object score, from a conditioned image.

    Args:
        config: sizes.
        iou_in_logits: the head of the predicted quality gives logits, not the quality itself.
    """

    def __init__(self, config: MaskDecoderConfig, *, iou_in_logits: bool = True) -> None:
        super().__init__(config, config.num_multimask_outputs + 1)
        self.iou_in_logits = iou_in_logits

    def decode(self, image: Tensor, image_position: Tensor, prompts: Tensor) -> DecodedTokens:
        """Run the transformer and the small heads.

        Args:
            image: (N or 1, h*w, C), dense prompt embeddings added.
            image_position: (h*w, C).
            prompts: (N, P, C), embedded points.
        """
        weights = (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        own = torch.cat(weights).expand(len(prompts), -1, -1)
        tokens, image = self.transformer(torch.cat((own, prompts), 1), image, image_position)
        score: Tensor = self.pred_obj_score_head(tokens[:, 0])
        iou: Tensor = self.iou_prediction_head(tokens[:, 1])
        return DecodedTokens(
            image=image,
            mask_tokens=tokens[:, 2 : 2 + self.num_masks],
            iou_scores=iou.sigmoid() if self.iou_in_logits else iou,
            object_score_logits=score[:, 0],
        )

    def best(self, decoded: DecodedTokens) -> Tensor:
        """(N,) int64: which of the several masks (1 … K - 1) is predicted to be the best."""
        return decoded.iou_scores[:, 1:].argmax(dim=1) + 1

    def one_of_many(
        self, decoded: DecodedTokens, fine: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best of the several proposed masks.

        Args:
            decoded: N masklets.
            fine: the high-resolution features, see :meth:`upscale`.

        Returns:
            low_res_masks (N, 4h, 4w) logits, iou_scores (N,), the masks' tokens (N, C).
        """
        chosen = self.best(decoded)
        rows = torch.arange(len(chosen), device=chosen.device)
        kernels = self._kernels(decoded, range(1, self.num_masks))[rows, chosen - 1]
        masks = self.upscale(decoded.image, fine, kernels[:, None])[:, 0]
        return masks, decoded.iou_scores[rows, chosen], decoded.mask_tokens[rows, chosen]

    def all_of_many(self, decoded: DecodedTokens, fine: tuple[Tensor, Tensor]) -> Tensor:
        """All K - 1 proposed masks, (N, K - 1, 4h, 4w) logits; arguments as in one_of_many."""
        return self.upscale(decoded.image, fine, self._kernels(decoded, range(1, self.num_masks)))

    def single(
        self, decoded: DecodedTokens, fine: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The one mask for an unambiguous prompt; arguments and results as in one_of_many.

        Where its edge is unstable the best of the several masks replaces it, if the configuration
        says so and the module isn't training. The token stays that of the single mask.
        """
        scores, token = decoded.iou_scores, decoded.mask_tokens[:, 0]
        dynamic = self.config.dynamic_multimask_via_stability and not self.training
        if not dynamic:
            kernels = self._kernels(decoded, range(1))
            return self.upscale(decoded.image, fine, kernels)[:, 0], scores[:, 0], token
        chosen = self.best(decoded)
        rows = torch.arange(len(chosen), device=chosen.device)
        kernels = self._kernels(decoded, range(self.num_masks))
        kernels = torch.stack((kernels[:, 0], kernels[rows, chosen]), dim=1)
        one, other = self.upscale(decoded.image, fine, kernels).unbind(1)
        stable = self._stability(one) >= self.config.dynamic_multimask_stability_thresh
        masks = torch.where(stable[:, None, None], one, other)
        return masks, torch.where(stable, scores[:, 0], scores[rows, chosen]), token

    def _stability(self, masks: Tensor) -> Tensor:
        """IoU of a mask cut a little above and a little below 0: (N, H, W) logits to (N,)."""
        delta = self.config.dynamic_multimask_stability_delta
        inner = (masks > delta).flatten(1).sum(1).float()
        outer = (masks > -delta).flatten(1).sum(1).float()
        return torch.where(outer > 0, inner / outer, 1.0)

    def _kernels(self, decoded: DecodedTokens, which: range) -> Tensor:
        """(N, len(which), C/8): the vectors that turn upscaled features into masks."""
        made = [self.output_hypernetworks_mlps[i](decoded.mask_tokens[:, i]) for i in which]
        return torch.stack(made, dim=1)


def _four_of_one(
    x: Tensor, conv: nn.ConvTranspose2d, fine: Tensor, taps: Derived[Tensor]
) -> Tensor:
    """A transposed convolution of kernel and stride 2 as a linear layer, with ``fine`` added.

    Args:
        x: (N, ..., C_in), one row per pixel.
        conv: its weight is (C_in, C_out, 2, 2).
        fine: (..., 4 * C_out), the finer map in the order of the result.
        taps: where the weight of the linear layer is kept.

    Returns:
        (N, ..., 4 * C_out): the four pixels of each pixel, row-major, channels last.
    """
    weight = taps.of((conv.weight,), lambda: packed(conv.weight.permute(2, 3, 1, 0).flatten(0, 2)))
    offset = fine if conv.bias is None else fine + conv.bias.repeat(4)
    return linear(x, weight) + offset
