"""The detector: composes vision, text and geometry encoders, fusion, decoder and mask head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.core.linear import Linear
from maskstream.core.masks import OVERLAPS, mask_nms
from maskstream.core.position import sine_position_2d
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.config import DetectorConfig
from maskstream.detector.decoder import Decoder, DotProductScoring
from maskstream.detector.fusion import FusionEncoder, masked_mean
from maskstream.detector.geometry import GeometryEncoder
from maskstream.detector.mask_head import MaskHead
from maskstream.detector.neck import Neck, VisionEncoder
from maskstream.detector.prompts import ConceptBatch, GeometryPrompts, PromptTokens
from maskstream.detector.text import TextEncoder


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """B encoded images.

    Attributes:
        levels: the detector's branch, fine to coarse: (B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w).
        tracker_levels: the tracker's branch of the same ViT pass, where it was asked for.
        interactive_levels: with it, the branch for clicks and given masks, where there is one.
    """

    levels: tuple[Tensor, ...]
    tracker_levels: tuple[Tensor, ...] | None = None
    interactive_levels: tuple[Tensor, ...] | None = None

    def tracker_features(self, index: int) -> TrackerFeatures:
        """The tracker's branch of one image; the encoding must have asked for it."""
        if self.tracker_levels is None:
            raise RuntimeError("encode_image(..., tracker=True) makes the tracker's features")
        return TrackerFeatures(
            _levels_of(self.tracker_levels, index),
            None if self.interactive_levels is None else _levels_of(self.interactive_levels, index),
        )


def _levels_of(levels: tuple[Tensor, ...], index: int) -> tuple[Tensor, Tensor, Tensor]:
    fine, middle, coarse = (level[index : index + 1] for level in levels)
    return fine, middle, coarse


@dataclass(frozen=True, slots=True)
class DetectorOutput:
    """Everything the detector says of K concepts with Q queries, from L decoder layers.

    L is 1 outside training. ``many`` is the one-to-many half, in training only.

    Attributes:
        logits: (L, K, Q) class logits.
        boxes: (L, K, Q, 4) cx cy w h in [0, 1].
        presence_logits: (L, K).
        queries: (L, K, Q, C) normed, for :meth:`Detector.masks_of`.
        pixels: (K, C, H, W) pixel embeddings.
        many: the same of the one-to-many queries, sharing presence and pixels.
    """

    logits: Tensor
    boxes: Tensor
    presence_logits: Tensor
    queries: Tensor
    pixels: Tensor
    many: DetectorOutput | None = None


@dataclass(frozen=True, slots=True)
class _Fused:
    """K concepts fused with their images and decoded: all there is before masks."""

    image: Tensor
    prompt: Tensor
    valid: Tensor
    queries: Tensor
    boxes: Tensor
    presence_logits: Tensor
    logits: Tensor


class Detector(nn.Module):
    """Images and prompts to detections. Stateless: nothing is kept between calls."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.vision_encoder = VisionEncoder(config.vision_config)
        self.tracker_neck = Neck(config.vision_config)
        self.interactive_neck = Neck(config.vision_config) if config.interactive_neck else None
        self.text_encoder = TextEncoder(config.text_config)
        self.text_projection = Linear(config.text_config.hidden_size, size)
        self.geometry_encoder = GeometryEncoder(config.geometry_encoder_config)
        self.detr_encoder = FusionEncoder(config.detr_encoder_config)
        self.detr_decoder = Decoder(config.detr_decoder_config)
        self.mask_decoder = MaskHead(config.mask_decoder_config)
        self.dot_product_scoring = DotProductScoring(config.detr_decoder_config)

    def encode_image(self, pixels: Tensor, *, tracker: bool = False) -> ImageFeatures:
        """Encode images: one ViT pass for all branches of the neck.

        Args:
            pixels: (B, 3, S, S) in [-1, 1].
            tracker: compute the tracker's branches too.
        """
        grid = self.vision_encoder.backbone(pixels)
        interactive = self.interactive_neck if tracker else None
        return ImageFeatures(
            levels=self.vision_encoder.neck(grid),
            tracker_levels=self.tracker_neck(grid) if tracker else None,
            interactive_levels=None if interactive is None else interactive(grid),
        )

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> PromptTokens:
        """Encode texts.

        Args:
            input_ids: (K, L) int64; padding stands behind the words.
            attention_mask: (K, L), nonzero on words.
        """
        tokens = self.text_projection(self.text_encoder(input_ids))
        return PromptTokens(tokens, attention_mask.bool())

    def encode_exemplars(
        self, features: ImageFeatures, geometry: GeometryPrompts | None, image_index: Tensor
    ) -> PromptTokens:
        """Encode what is shown of K concepts, each on one of the images.

        Returns:
            The exemplars' tokens and, last, the CLS token. A concept that nothing is shown of has
            the CLS token alone, and not even that unless the configuration wants it always.
        """
        coarse = features.levels[-1]
        tokens, valid = self.geometry_encoder(geometry, coarse[image_index], self._position(coarse))
        if not self.config.geometry_token_always:
            valid = valid & valid[:, :-1].any(dim=1, keepdim=True)
        return PromptTokens(tokens, valid)

    def encode_prompt(self, features: ImageFeatures, concepts: ConceptBatch) -> PromptTokens:
        """All prompt tokens of K concepts: text, then exemplars and CLS."""
        parts = [concepts.text]
        shown = concepts.exemplars
        if shown is not None:
            parts.append(shown)
        if concepts.geometry is not None or self.config.geometry_token_always:
            own = self.encode_exemplars(features, concepts.geometry, concepts.image_index)
            if shown is not None:  # what was shown earlier brought its own CLS token along
                unshown = ~shown.valid.any(dim=1, keepdim=True)
                own = PromptTokens(own.tokens, own.valid & unshown)
            parts.append(own)
        if len(parts) == 1:
            return concepts.text
        return PromptTokens(
            torch.cat([part.tokens for part in parts], dim=1),
            torch.cat([part.valid for part in parts], dim=1),
        )

    def _position(self, level: Tensor) -> Tensor:
        height, width = level.shape[-2:]
        return sine_position_2d(height, width, level.shape[1], level.device, level.dtype)

    def _fuse(self, features: ImageFeatures, concepts: ConceptBatch) -> _Fused:
        encoded = self.encode_prompt(features, concepts)
        prompt, valid = encoded.tokens, encoded.valid
        coarse = features.levels[-1]
        position = self._position(coarse).flatten(2).transpose(1, 2)
        image = self.detr_encoder(
            coarse.flatten(2).transpose(1, 2),
            position,
            prompt,
            valid,
            concepts.image_index,
            masked_mean(concepts.text.tokens, concepts.text.valid),
        )
        height, width = coarse.shape[-2:]
        decoded = self.detr_decoder(image, position, (height, width), prompt, valid)
        logits = self.dot_product_scoring(decoded.queries, prompt, valid)
        return _Fused(
            image, prompt, valid, decoded.queries, decoded.boxes, decoded.presence_logits, logits
        )

    def forward(self, features: ImageFeatures, concepts: ConceptBatch) -> DetectorOutput:
        """Everything but the masks, which :meth:`masks_of` makes for the queries that matter."""
        fused = self._fuse(features, concepts)
        pixels = self.mask_decoder.embed_pixels(
            fused.image, features.levels, concepts.image_index, fused.prompt, fused.valid
        )
        count = self.config.detr_decoder_config.num_queries

        def part(which: slice, many: DetectorOutput | None) -> DetectorOutput:
            return DetectorOutput(
                fused.logits[:, :, which],
                fused.boxes[:, :, which],
                fused.presence_logits,
                fused.queries[:, :, which],
                pixels,
                many,
            )

        many = part(slice(count, None), None) if self.training else None
        return part(slice(0, count), many)

    def masks_of(self, queries: Tensor, pixels: Tensor) -> Tensor:
        """Mask logits: queries (K, N, C) on pixels (K, C, H, W) to (K, N, H, W)."""
        return self.mask_decoder.instance_masks(queries, pixels)

    def semantic_map(self, output: DetectorOutput) -> Tensor:
        """Logits (K, 1, H, W) of each concept as a whole."""
        return self.mask_decoder.semantic_map(output.pixels)

    def detect(
        self,
        features: ImageFeatures,
        concepts: ConceptBatch,
        prompt_ids: Tensor,
        *,
        score_threshold: float,
        nms_iou: float | None,
        nms_by: str = "iou",
    ) -> list[Detections]:
        """Find K concepts in the images; masks are made only for queries that pass.

        Args:
            prompt_ids: (K,) int64, what the detections of each concept are to be called.
            score_threshold: queries above this joint score pass.
            nms_by: "iou", or "iom": overlap is intersection over the smaller area.
            nms_iou: of two masks of one concept that overlap more than this, the lower-scored
                one goes; None keeps both.

        Returns:
            One ``Detections`` per image, ordered by concept, then by query.
        """
        fused = self._fuse(features, concepts)
        scores = _probability(fused.logits[-1]) * _probability(fused.presence_logits[-1])[:, None]
        passed = scores > score_threshold
        concept, query = passed.nonzero(as_tuple=True)
        masks = self._passing_masks(features, concepts, fused, concept, query)
        found = Detections(
            prompt_ids=prompt_ids[concept],
            scores=scores[concept, query].float(),
            boxes=cxcywh_to_xyxy(fused.boxes[-1][concept, query]).float(),
            masks=masks.float(),
        )
        image = concepts.image_index[concept]
        if nms_iou is not None and len(found):
            keep = mask_nms(found.masks > 0, found.scores, nms_iou, concept, OVERLAPS[nms_by])
            found, image = _select(found, keep), image[keep]
        count = features.levels[0].shape[0]
        return [found] if count == 1 else [_select(found, image == i) for i in range(count)]

    def _passing_masks(
        self,
        features: ImageFeatures,
        concepts: ConceptBatch,
        fused: _Fused,
        concept: Tensor,
        query: Tensor,
    ) -> Tensor:
        """Mask logits (N, H, W) of the passing queries; concepts with none cost nothing."""
        height, width = features.levels[0].shape[-2:]
        if concept.shape[0] == 0:
            return fused.image.new_zeros(0, height, width)
        present, row, counts = concept.unique(return_inverse=True, return_counts=True)
        # `concept` is sorted, so a query's place among its concept's is its distance to the first.
        column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        size = fused.queries.shape[-1]
        queries = fused.queries.new_zeros(len(present), int(counts.max()), size)
        queries[row, column] = fused.queries[-1][concept, query]
        masks = self.mask_decoder.masks_of_concepts(
            queries,
            fused.image[present],
            features.levels,
            concepts.image_index[present],
            fused.prompt[present],
            fused.valid[present],
        )
        return masks[row, column]


def _select(found: Detections, keep: Tensor) -> Detections:
    return Detections(
        found.prompt_ids[keep], found.scores[keep], found.boxes[keep], found.masks[keep]
    )


def _probability(logits: Tensor) -> Tensor:
    """Sigmoid. On the CPU in double precision: in single, whether a number goes through vector or
    scalar code, which depends on how many there are, decides its last bit.
    """
    if logits.device.type != "cpu":
        return logits.sigmoid()
    return logits.double().sigmoid().to(logits.dtype)
