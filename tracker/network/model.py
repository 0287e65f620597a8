"""The tracker's network: one frame's features and memories in, masks, pointers and memories out.

Stateless; the memories live in :class:`maskstream.tracker.network.memory_bank.MemoryBank`. Every
method takes all masklets at once. Module and parameter names are those of ``tracker_model`` in a
transformers checkpoint. The file is a little long: it composes the whole network, which is read in
one sitting.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from maskstream.core.derived import Derived
from maskstream.core.errors import PromptError
from maskstream.core.linear import Linear
from maskstream.core.position import sine_position_2d
from maskstream.core.types import TrackerFeatures
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.maps import (
    GIVEN_MASK_BIAS,
    GIVEN_MASK_SCALE,
    NO_OBJECT_LOGIT,
    FrameEmbedding,
    as_tokens,
    embed_levels,
    resize,
    time_code,
)
from maskstream.tracker.network.mask_decoder import DecodedTokens, MaskDecoder, Mlp
from maskstream.tracker.network.memory_attention import MemoryAttention, MemoryTokens
from maskstream.tracker.network.memory_bank import MemoryBatch
from maskstream.tracker.network.memory_encoder import MemoryEncoder
from maskstream.tracker.network.object_memories import ObjectMemories
from maskstream.tracker.network.prompt_encoder import (
    BOTTOM_RIGHT,
    TOP_LEFT,
    FourierPosition,
    PromptEncoder,
    check_prompt,
)
from maskstream.tracker.network.protocol import MaskletPrediction
from maskstream.tracker.video_config import VideoConfig

__all__ = ["FrameEmbedding", "MaskletPrediction", "MemoryBatch", "TrackerConfig", "TrackerModel"]


class TrackerModel(nn.Module):
    """Memory attention, prompt encoder, mask decoder and memory encoder.

    Coordinates are pixels of the model's input, ``image_size`` a side. (h, w) is ``grid``.
    """

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.config = config
        hidden, memory_dim = config.fpn_hidden_size, config.memory_encoder_output_channels
        self.shared_image_embedding = FourierPosition(config.prompt_encoder_config)
        self.prompt_encoder = PromptEncoder(config.prompt_encoder_config)
        self.mask_decoder = MaskDecoder(config.mask_decoder_config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.no_memory_embedding = Parameter(torch.zeros(1, 1, hidden))
        # Part of the checkpoint; nothing reads it.
        self.no_memory_positional_encoding = Parameter(torch.zeros(1, 1, hidden))
        self.memory_temporal_positional_encoding = Parameter(
            torch.zeros(config.num_maskmem, 1, 1, memory_dim)
        )
        self.no_object_pointer = Parameter(torch.zeros(1, hidden))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.object_pointer_proj = Mlp(hidden, hidden, hidden, 3)
        self.temporal_positional_encoding_projection_layer: nn.Module = (
            Linear(hidden, memory_dim)
            if config.enable_temporal_pos_encoding_for_object_pointers
            else nn.Identity()
        )
        self.occlusion_spatial_embedding_parameter: Parameter | None = (
            Parameter(torch.zeros(1, memory_dim))
            if config.enable_occlusion_spatial_embedding
            else None
        )
        self._map_positions: Derived[Tensor] = Derived()
        self._cells: Derived[Tensor] = Derived()

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the coarsest features and of memory maps, cells."""
        return self.config.grid

    @property
    def mask_size(self) -> tuple[int, int]:
        """(4h, 4w), the size of ``low_res_masks``."""
        return self.config.mask_size

    @property
    def hidden(self) -> int:
        """C: channels of features and object pointers."""
        return self.config.fpn_hidden_size

    @property
    def memory_dim(self) -> int:
        """M: channels of memory maps."""
        return self.config.memory_encoder_output_channels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_memory_embedding.device

    def memories(self, config: VideoConfig, num_frames: int | None = None) -> ObjectMemories:
        """The memories of a new session, see :mod:`maskstream.tracker.network.protocol`."""
        return ObjectMemories(self, config, num_frames)

    # ------------------------------------------------------------- one frame

    def embed(self, features: TrackerFeatures) -> FrameEmbedding:
        """Do what is the same for all masklets of a frame.

        Raises:
            InputError: feature maps of other shapes than this model's.
        """
        return embed_levels(features.levels, self.mask_decoder, self.grid, self.hidden)

    def propagate(self, frame: FrameEmbedding, memory: MemoryBatch) -> MaskletPrediction:
        """Segment N masklets in a frame from what they remember."""
        config = self.config
        if len(memory) == 0:
            return self._nothing(frame)
        image = self._remember(frame, memory) + self.prompt_encoder.no_mask()
        points = self.prompt_encoder.no_points().expand(len(memory), -1, -1)
        many = config.multimask_output_for_tracking and self._wants_many(0)
        return self._predict(frame, image, points, many)

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
        """Segment N masklets in a frame from what was drawn, one prompt each.

        Several masks are proposed, and the best one taken, where the number of points (a box
        counts as two, padding counts too) lies within the configuration's range.

        Args:
            frame: the frame.
            points: (N, P, 2) x y, pixels of the model's input.
            point_labels: (N, P) int: 1 inside, 0 outside, -1 no point, -10 padding.
            boxes: (N, 4) x0 y0 x1 y1, pixels of the model's input.
            mask_logits: (N, 4h, 4w), the masks of an earlier answer that is to be corrected.
            memory: what the N masklets remember; None on a masklet's first frame.

        Raises:
            PromptError: no prompt at all, points without labels, or shapes that don't fit.
        """
        n = check_prompt(self.mask_size, points, point_labels, boxes, mask_logits)
        if memory is not None and len(memory) != n:
            raise PromptError(f"{n} prompts with the memory of {len(memory)} masklets")
        if n == 0:
            return self._nothing(frame)
        tokens = self._prompt_tokens(frame, n, points, point_labels, boxes)
        image = self._prompted_image(frame, mask_logits, memory)
        num_points = (0 if points is None else points.shape[1]) + (0 if boxes is None else 2)
        allowed = memory is None or self.config.multimask_output_for_tracking
        many = allowed and self._wants_many(num_points)
        return self._predict(frame, image, tokens, many)

    def propose(
        self,
        frame: FrameEmbedding,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_logits: Tensor | None = None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks for N prompts on a single picture, whether or not the object is there.

        Args:
            several: give all proposals for each prompt; otherwise the one for a prompt that is not
                ambiguous.

        Other arguments as for :meth:`prompt`.

        Returns:
            Masks (N, K, 4h, 4w) as logits, and their predicted quality (N, K) in [0, 1].

        Raises:
            PromptError: as :meth:`prompt`.
        """
        n = check_prompt(self.mask_size, points, point_labels, boxes, mask_logits)
        tokens = self._prompt_tokens(frame, n, points, point_labels, boxes)
        image = self._prompted_image(frame, mask_logits, None)
        decoder = self.mask_decoder
        decoded = decoder.decode(image, self._cell_positions(), tokens)
        if several:
            return decoder.all_of_many(decoded, frame.high_res), decoded.iou_scores[:, 1:]
        masks, scores, _ = decoder.single(decoded, frame.high_res)
        return masks[:, None], scores[:, None]

    def _prompt_tokens(
        self,
        frame: FrameEmbedding,
        n: int,
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
    ) -> Tensor:
        """What was drawn of N masklets as tokens, (N, P, C)."""
        if points is None or point_labels is None:
            points = torch.zeros(n, 0, 2, device=frame.image.device)
            point_labels = torch.zeros(n, 0, dtype=torch.int64, device=frame.image.device)
        if boxes is not None:
            corners = boxes.new_tensor([TOP_LEFT, BOTTOM_RIGHT]).expand(n, -1)
            points = torch.cat((boxes.unflatten(1, (2, 2)), points), dim=1)
            point_labels = torch.cat((corners.to(point_labels.dtype), point_labels), dim=1)
        tokens = (
            self.prompt_encoder.points(points, point_labels)
            if points.shape[1]
            else self.prompt_encoder.no_points().expand(n, -1, -1)
        )
        return tokens.to(frame.image.dtype)

    def _prompted_image(
        self, frame: FrameEmbedding, mask_logits: Tensor | None, memory: MemoryBatch | None
    ) -> Tensor:
        """The frame's features with memories and a mask that is to be corrected, (N or 1, L, C)."""
        image = as_tokens(frame.image) + self.no_memory_embedding
        if memory is not None:
            image = self._remember(frame, memory)
        dense = self.prompt_encoder.no_mask()
        if mask_logits is not None:
            dense = self.prompt_encoder.masks(mask_logits.to(image.dtype))
        return image + dense

    def from_masks(self, frame: FrameEmbedding, masks: Tensor) -> MaskletPrediction:
        """Take given masks as the answer; the network adds the object pointers.

        Args:
            frame: the frame.
            masks: (N, H, W) 0 or 1, of any size, covering the whole frame. They are resized, not
                cut to 0 and 1 again: edges come out as logits between -10 and 10.

        Raises:
            PromptError: not three-dimensional.
        """
        if masks.dim() != 3:
            raise PromptError(f"masks of shape {tuple(masks.shape)}; they must be (N, H, W)")
        if len(masks) == 0:
            return self._nothing(frame)
        dtype = frame.image.dtype
        large = self.mask_at_image_size(masks)
        logits = large * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        low_res = resize(logits, self.mask_size, antialias=True).to(dtype)
        there = masks.flatten(1).gt(0).any(dim=1)

        # The pointer is made from the features as they are: no memory, no "no memory" either.
        drawn = self.mask_downsample(large[:, None].to(dtype))[:, 0]
        drawn = resize(drawn, self.mask_size, antialias=True).to(dtype)
        image = as_tokens(frame.image) + self.prompt_encoder.masks(drawn)
        points = self.prompt_encoder.no_points().expand(len(masks), -1, -1)
        decoded = self.mask_decoder.decode(image, self._cell_positions(), points)
        rows = torch.arange(len(masks), device=masks.device)
        token = decoded.mask_tokens[rows, self.mask_decoder.best(decoded)]
        pointers = self._pointers(token, there & (decoded.object_score_logits > 0))
        return MaskletPrediction(
            low_res_masks=low_res,
            iou_scores=torch.ones_like(decoded.object_score_logits),
            object_score_logits=there.to(dtype) * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS,
            object_pointers=pointers,
        )

    def encode_memory(
        self,
        frame: FrameEmbedding,
        mask_logits: Tensor,
        object_score_logits: Tensor,
        *,
        binarize: bool,
    ) -> Tensor:
        """Memory maps of N masklets.

        transformers' tracker encodes masks of the model's input size: give it
        :meth:`logits_at_image_size` or, after :meth:`from_masks`, :meth:`mask_at_image_size` - 0.5
        to get its maps to the last bit; its video model encodes ``low_res_masks`` as they are.

        Args:
            frame: the frame.
            mask_logits: (N, H, W), of any size, covering the whole frame.
            object_score_logits: (N,), ≤ 0: the object isn't in the frame.
            binarize: cut the masks at 0 first; for masks that were drawn or clicked.

        Returns:
            (N, h*w, M) bfloat16.
        """
        config, dtype = self.config, frame.image.dtype
        if len(mask_logits) == 0:
            cells = self.grid[0] * self.grid[1]
            return frame.image.new_zeros(0, cells, self.memory_dim, dtype=torch.bfloat16)
        size = (4 * self.mask_size[0], 4 * self.mask_size[1])
        masks = resize(mask_logits, size, antialias=True).to(dtype)
        masks = (masks > 0).to(dtype) if binarize and not self.training else masks.sigmoid()
        masks = masks * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        maps = self.memory_encoder(frame.image, masks[:, None]).flatten(2).transpose(1, 2)
        if self.occlusion_spatial_embedding_parameter is not None:
            absent = (object_score_logits <= 0).to(dtype)[:, None, None]
            maps = maps + absent * self.occlusion_spatial_embedding_parameter
        out: Tensor = maps.to(torch.bfloat16)
        return out

    def logits_at_image_size(self, low_res_masks: Tensor) -> Tensor:
        """(N, 4h, 4w) to (N, image_size, image_size), bilinear."""
        side = self.config.image_size
        return resize(low_res_masks, (side, side), antialias=False)

    def mask_at_image_size(self, masks: Tensor) -> Tensor:
        """(N, H, W) masks of 0 and 1 to (N, image_size, image_size) float32, bilinear."""
        side = self.config.image_size
        return resize(masks, (side, side), antialias=True)

    # ----------------------------------------------------------------- steps

    def _remember(self, frame: FrameEmbedding, memory: MemoryBatch) -> Tensor:
        """The frame's features conditioned on every masklet's memory, (N, L, C)."""
        height, width = self.grid
        dtype = frame.image.dtype
        in_frame = as_tokens(
            sine_position_2d(height, width, self.memory_dim, frame.image.device, dtype)
        )
        in_time = self.memory_temporal_positional_encoding
        position = self._map_positions.of((in_frame, in_time), lambda: in_frame + in_time[:, 0])
        num_splits = self.hidden // self.memory_dim
        pointers = memory.pointers.to(dtype).unflatten(-1, (num_splits, -1)).flatten(1, 2)
        pointer_position = self._pointer_position(memory.pointer_offsets, dtype)
        tokens = MemoryTokens(
            maps=memory.maps,
            # The last temporal position is that of conditioning frames.
            temporal=(memory.map_offsets - 1) % self.config.num_maskmem,
            pointers=pointers,
            pointer_position=pointer_position.repeat_interleave(num_splits, dim=1),
            map_valid=None if memory.full else memory.map_valid,
            pointer_valid=(
                None if memory.full else memory.pointer_valid.repeat_interleave(num_splits, dim=1)
            ),
        )
        conditioned: Tensor = self.memory_attention(
            as_tokens(frame.image), as_tokens(frame.position), tokens, position
        )
        return conditioned

    def _pointer_position(self, offsets: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, P) offsets in units of the reach of memory to (N, P, M) encodings."""
        if not self.config.enable_temporal_pos_encoding_for_object_pointers:
            return offsets.new_zeros(*offsets.shape, self.memory_dim, dtype=dtype)
        encoded = time_code(offsets, self.hidden).to(dtype)
        out: Tensor = self.temporal_positional_encoding_projection_layer(encoded)
        return out

    def _predict(
        self, frame: FrameEmbedding, image: Tensor, points: Tensor, many: bool
    ) -> MaskletPrediction:
        """Decode (N or 1, L, C) features with (N, P, C) prompt tokens."""
        decoder = self.mask_decoder
        decoded: DecodedTokens = decoder.decode(image, self._cell_positions(), points)
        pick = decoder.one_of_many if many else decoder.single
        masks, iou_scores, token = pick(decoded, frame.high_res)
        there = decoded.object_score_logits > 0
        return MaskletPrediction(
            low_res_masks=masks.masked_fill(~there[:, None, None], NO_OBJECT_LOGIT),
            iou_scores=iou_scores,
            object_score_logits=decoded.object_score_logits,
            object_pointers=self._pointers(token, there),
        )

    def _pointers(self, tokens: Tensor, there: Tensor) -> Tensor:
        projected = self.object_pointer_proj(tokens)
        return torch.where(there[:, None], projected, self.no_object_pointer)

    def _cell_positions(self) -> Tensor:
        """Encoding of the cells of the grid for the mask decoder, (L, C)."""
        embedding = self.shared_image_embedding
        return self._cells.of(
            (embedding.positional_embedding,), lambda: embedding.of_grid(*self.grid)
        )

    def _wants_many(self, num_points: int) -> bool:
        config = self.config
        within = config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        return config.multimask_output_in_sam and within

    def _nothing(self, frame: FrameEmbedding) -> MaskletPrediction:
        empty = frame.image.new_zeros(0)
        return MaskletPrediction(
            low_res_masks=empty.new_zeros(0, *self.mask_size),
            iou_scores=empty,
            object_score_logits=empty,
            object_pointers=empty.new_zeros(0, self.hidden),
        )
