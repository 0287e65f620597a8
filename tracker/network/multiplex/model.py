"""SAM 3.1's network: one frame's features and memories in, masks, pointers and memories out.

Stateless; the memories live in :mod:`maskstream.tracker.network.multiplex.memories`. Objects come
in buckets of ``num_slots``: what is remembered of a bucket is one map and, for each object, one
pointer a frame. Clicks and given masks are answered by a decoder that knows one object and no
memory. Module and parameter names are those of ``tracker_model`` in our folder layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from maskstream.core.derived import Derived
from maskstream.core.errors import InputError
from maskstream.core.linear import Linear
from maskstream.core.types import TrackerFeatures
from maskstream.tracker.network.maps import (
    GIVEN_MASK_BIAS,
    GIVEN_MASK_SCALE,
    NO_OBJECT_LOGIT,
    as_tokens,
    embed_levels,
    resize,
    time_code,
)
from maskstream.tracker.network.mask_decoder import DecodedTokens, MaskDecoder, Mlp
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.frame import MultiplexFrame
from maskstream.tracker.network.multiplex.mask_decoder import MultiplexMaskDecoder
from maskstream.tracker.network.multiplex.memories import MultiplexMemories
from maskstream.tracker.network.multiplex.memory_attention import (
    BucketTokens,
    DecoupledMemoryAttention,
)
from maskstream.tracker.network.multiplex.memory_encoder import MultiplexMemoryEncoder
from maskstream.tracker.network.multiplex.slots import SlotTable
from maskstream.tracker.network.prompt_encoder import FourierPosition, PromptEncoder
from maskstream.tracker.network.protocol import MaskletPrediction
from maskstream.tracker.video_config import VideoConfig


class MultiplexModel(nn.Module):
    """Memory attention, mask decoders and memory encoder.

    Coordinates are pixels of the model's input, ``image_size`` a side. (h, w) is ``grid``, L = h*w.
    """

    def __init__(self, config: MultiplexConfig) -> None:
        super().__init__()
        self.config = config
        hidden, slots = config.fpn_hidden_size, config.num_slots
        self.shared_image_embedding = FourierPosition(config.prompt_encoder_config)
        self.interactive_prompt_encoder = PromptEncoder(config.prompt_encoder_config)
        self.interactive_mask_decoder = MaskDecoder(config.mask_decoder_config, iou_in_logits=False)
        self.mask_decoder = MultiplexMaskDecoder(config.mask_decoder_config, slots)
        self.memory_attention = DecoupledMemoryAttention(config)
        self.memory_encoder = MultiplexMemoryEncoder(config)
        self.no_memory_embedding = Parameter(torch.zeros(1, 1, hidden))
        self.memory_temporal_positional_encoding = Parameter(
            torch.zeros(config.num_maskmem, 1, 1, hidden)
        )
        self.occlusion_spatial_embedding_parameter = Parameter(torch.zeros(slots, hidden))
        self.output_valid_embed = Parameter(torch.zeros(slots, hidden))
        self.output_invalid_embed = Parameter(torch.zeros(slots, hidden))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.object_pointer_proj = Mlp(hidden, hidden, hidden, 3)
        self.interactive_object_pointer_proj = Mlp(hidden, hidden, hidden, 3)
        self.no_object_pointer_linear = Linear(hidden, hidden)
        self.temporal_positional_encoding_projection_layer = Linear(hidden, hidden)
        self._map_positions: Derived[Tensor] = Derived()
        self._cells: Derived[Tensor] = Derived()
        self._click_cells: Derived[Tensor] = Derived()

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the coarsest features and of memory maps, cells."""
        return self.config.grid

    @property
    def mask_size(self) -> tuple[int, int]:
        """(4h, 4w), the size of ``low_res_masks``."""
        return self.config.mask_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_memory_embedding.device

    def memories(self, config: VideoConfig, num_frames: int | None = None) -> MultiplexMemories:
        """The memories of a new session, see :mod:`maskstream.tracker.network.protocol`."""
        return MultiplexMemories(self, config, num_frames)

    def embed(self, features: TrackerFeatures) -> MultiplexFrame:
        """Do what is the same for all objects of a frame.

        Raises:
            InputError: no features for clicks, or maps of other shapes than this model's.
        """
        if features.interactive is None:
            raise InputError("tracker features without the interactive branch, which SAM 3.1 needs")
        hidden = self.config.fpn_hidden_size
        return MultiplexFrame(
            embed_levels(features.levels, self.mask_decoder, self.grid, hidden),
            embed_levels(features.interactive, self.interactive_mask_decoder, self.grid, hidden),
        )

    # ------------------------------------------------------------- following

    def propagate(
        self,
        frame: MultiplexFrame,
        memories: Sequence[BucketTokens],
        images: Mapping[int, Tensor],
        live: Sequence[NDArray[np.bool_]],
    ) -> list[MaskletPrediction]:
        """Segment the objects of some groups of buckets from what is remembered of them.

        Args:
            frame: the frame.
            memories: a group for each that remembers other frames.
            images: (L, C) features of every frame that is remembered.
            live: for each group, (G, M) bool: an object is in the slot.

        Returns:
            For each group, all its objects, bucket after bucket and slot after slot.
        """
        conditioned = self.condition(frame, memories, images)
        return [
            self._decode(frame, image, there)
            for image, there in zip(conditioned, live, strict=True)
        ]

    def condition(
        self,
        frame: MultiplexFrame,
        memories: Sequence[BucketTokens],
        images: Mapping[int, Tensor],
    ) -> list[Tensor]:
        """The frame's features conditioned on each group's memory, (G, L, C) each."""
        view = frame.propagation
        in_frame, in_time = as_tokens(view.position), self.memory_temporal_positional_encoding
        position = self._map_positions.of((in_frame, in_time), lambda: in_frame + in_time[:, 0])
        conditioned: list[Tensor] = self.memory_attention(
            as_tokens(view.image), in_frame, memories, images, position
        )
        return conditioned

    def pointer_position(self, distances: Tensor) -> Tensor:
        """What is added to the pointers of P frames where they are keys, (1, P * M, C).

        Args:
            distances: (P,) float, in units of the reach of memory.
        """
        dtype = self.no_memory_embedding.dtype
        code = time_code(distances, self.config.fpn_hidden_size).to(dtype)
        placed: Tensor = self.temporal_positional_encoding_projection_layer(code)
        return placed.repeat_interleave(self.config.num_slots, dim=0)[None]

    def _decode(
        self, frame: MultiplexFrame, image: Tensor, live: NDArray[np.bool_]
    ) -> MaskletPrediction:
        """Decode (G, L, C) conditioned features; the objects are those of the live slots."""
        decoder = self.mask_decoder
        there = torch.from_numpy(live).to(image.device)
        marks = torch.where(there[..., None], self.output_valid_embed, self.output_invalid_embed)
        decoded = decoder.decode(image, self._cell_positions(), marks.to(image.dtype))
        bucket, slot = (torch.from_numpy(x).to(image.device) for x in np.nonzero(live))
        iou, scores = decoded.iou_scores[bucket, slot], decoded.object_score_logits[bucket, slot]
        best = iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        tokens = decoded.mask_tokens[bucket, slot]
        kernels = decoder.kernels(tokens)[rows, best]
        masks = self._masks_of(decoded.image, frame.propagation.high_res, kernels, bucket, slot)
        present = scores > 0
        return MaskletPrediction(
            low_res_masks=masks.masked_fill(~present[:, None, None], NO_OBJECT_LOGIT),
            iou_scores=iou[rows, best],
            object_score_logits=scores,
            object_pointers=self._pointers(self.object_pointer_proj(tokens[rows, best]), present),
        )

    def _masks_of(
        self,
        image: Tensor,
        fine: tuple[Tensor, Tensor],
        kernels: Tensor,
        bucket: Tensor,
        slot: Tensor,
    ) -> Tensor:
        """(N, 4h, 4w) masks; one kernel (N, C/8) for each object."""
        if len(image) == 1:
            return self.mask_decoder.upscale(image, fine, kernels[None])[0]
        slots = kernels.new_zeros(len(image), self.config.num_slots, kernels.shape[-1])
        slots[bucket, slot] = kernels
        return self.mask_decoder.upscale(image, fine, slots)[bucket, slot]

    def _cell_positions(self) -> Tensor:
        embedding = self.shared_image_embedding
        return self._cells.of(
            (embedding.positional_embedding,), lambda: embedding.of_grid(*self.grid)
        )

    def _pointers(self, projected: Tensor, there: Tensor) -> Tensor:
        """(N, C) pointers; those of objects that aren't there go through one more layer."""
        return torch.where(there[:, None], projected, self.no_object_pointer_linear(projected))

    # ---------------------------------------------------------- what is given

    def click(self, frame: MultiplexFrame, points: Tensor, labels: Tensor) -> MaskletPrediction:
        """Segment N objects from clicks alone, one prompt each.

        Args:
            frame: the frame.
            points: (N, P, 2) x y, pixels of the model's input.
            labels: (N, P) int: 1 inside, 0 outside, 2 and 3 corners of a box.
        """
        config, count = self.config, points.shape[1]
        decoded = self._decode_given(
            frame, self.interactive_prompt_encoder.points(points, labels), None
        )
        many = config.multimask_min_pt_num <= count <= config.multimask_max_pt_num
        decoder = self.interactive_mask_decoder
        pick = decoder.one_of_many if many else decoder.single
        masks, iou_scores, token = pick(decoded, frame.interactive.high_res)
        there = decoded.object_score_logits > 0
        return MaskletPrediction(
            low_res_masks=masks.masked_fill(~there[:, None, None], NO_OBJECT_LOGIT),
            iou_scores=iou_scores,
            object_score_logits=decoded.object_score_logits,
            object_pointers=self._pointers(self.interactive_object_pointer_proj(token), there),
        )

    def from_masks(self, frame: MultiplexFrame, masks: Tensor) -> MaskletPrediction:
        """Take given masks as the answer; the network adds the object pointers.

        Args:
            frame: the frame.
            masks: (N, 16h, 16w), 0 or 1.
        """
        dtype = frame.interactive.image.dtype
        logits = masks * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        drawn = self.mask_downsample(masks[:, None].to(dtype))[:, 0]
        points = self.interactive_prompt_encoder.no_points().expand(len(masks), -1, -1)
        decoded = self._decode_given(frame, points, drawn)
        # The single mask's token, whatever mask its decoder would have answered with.
        projected = self.interactive_object_pointer_proj(decoded.mask_tokens[:, 0])
        pointers = self._pointers(projected, decoded.object_score_logits > 0)
        there = masks.flatten(1).gt(0).any(dim=1)
        return MaskletPrediction(
            low_res_masks=resize(logits, self.mask_size, antialias=True).to(dtype),
            iou_scores=torch.ones_like(decoded.object_score_logits),
            object_score_logits=there.to(dtype) * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS,
            object_pointers=self._pointers(pointers, there),
        )

    def _decode_given(
        self, frame: MultiplexFrame, points: Tensor, drawn: Tensor | None
    ) -> DecodedTokens:
        """Decode prompts: (N, P, C) point tokens, and (N, 4h, 4w) mask prompts or None."""
        encoder = self.interactive_prompt_encoder
        embedding = encoder.shared_embedding
        position = self._click_cells.of(
            (embedding.positional_embedding,), lambda: embedding.of_grid(*self.grid)
        )
        image = as_tokens(frame.interactive.image) + self.no_memory_embedding
        image = image + (encoder.no_mask() if drawn is None else encoder.masks(drawn))
        return self.interactive_mask_decoder.decode(image, position, points.to(image.dtype))

    # ------------------------------------------------------------ remembering

    def encode_memory(
        self,
        frame: MultiplexFrame,
        mask_logits: Tensor,
        object_score_logits: Tensor,
        table: SlotTable,
        conditioning: NDArray[np.bool_],
    ) -> Tensor:
        """Memory maps of the B buckets that N objects are in.

        Args:
            frame: the frame.
            mask_logits: (N, H, W), of any size, covering the whole frame.
            object_score_logits: (N,), ≤ 0: the object isn't in the frame.
            table: the slots of the N objects.
            conditioning: (N,) bool, the object's mask was given on this frame.

        Returns:
            (B, L, C).
        """
        config, image = self.config, frame.propagation.image
        masks = mask_logits.float().sigmoid() * config.sigmoid_scale_for_mem_enc
        masks = masks + config.sigmoid_bias_for_mem_enc
        masks = resize(masks, config.memory_mask_size, antialias=True).to(image.dtype)
        given = torch.from_numpy(conditioning).to(image.device, image.dtype)
        given = table.mux(given)[..., None, None].expand(-1, -1, *config.memory_mask_size)
        maps = self.memory_encoder(image, torch.cat((table.mux(masks), given), dim=1))
        # Slots without an object count as those of objects that aren't there.
        absent = (table.mux(object_score_logits) <= 0).to(image.dtype)
        added = absent @ self.occlusion_spatial_embedding_parameter
        out: Tensor = as_tokens(maps) + added[:, None]
        return out
