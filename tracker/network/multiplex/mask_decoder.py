"""SAM 3.1's mask decoder: the objects of a bucket are decoded together, each by its own tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskstream.tracker.config import MaskDecoderConfig
from maskstream.tracker.network.mask_decoder import MaskHeads


@dataclass(frozen=True, slots=True)
class DecodedBuckets:
    """What the transformer made of G buckets of M slots; K masks are proposed for each slot.

    Attributes:
        image: (G, h*w, C), the image after attention.
        mask_tokens: (G, M, K, C).
        iou_scores: (G, M, K), predicted quality.
        object_score_logits: (G, M), > 0: the object is in the frame.
    """

    image: Tensor
    mask_tokens: Tensor
    iou_scores: Tensor
    object_score_logits: Tensor


class MultiplexMaskDecoder(MaskHeads):
    """Masks, their predicted quality and object scores of all slots."""

    def __init__(self, config: MaskDecoderConfig, num_slots: int) -> None:
        super().__init__(config, config.num_multimask_outputs, num_slots)
        self.num_slots = num_slots

    def decode(self, image: Tensor, image_position: Tensor, marks: Tensor) -> DecodedBuckets:
        """Run the transformer and the small heads.

        Args:
            image: (G, h*w, C).
            image_position: (h*w, C).
            marks: (G, M, C), what tells slots with an object from those without.
        """
        slots, group = self.num_slots, len(image)
        masks = self.mask_tokens.weight.unflatten(0, (slots, -1)) + marks[:, :, None]
        own = torch.cat((self.obj_score_token.weight, self.iou_token.weight))
        tokens = torch.cat((own.expand(group, -1, -1), masks.flatten(1, 2)), dim=1)
        tokens, image = self.transformer(tokens, image, image_position)
        score: Tensor = self.pred_obj_score_head(tokens[:, :slots])
        return DecodedBuckets(
            image=image,
            mask_tokens=tokens[:, 2 * slots :].unflatten(1, (slots, -1)),
            iou_scores=self.iou_prediction_head(tokens[:, slots : 2 * slots]),
            object_score_logits=score[..., 0],
        )

    def kernels(self, mask_tokens: Tensor) -> Tensor:
        """(…, K, C) to (…, K, C/8): what turns upscaled features into masks."""
        made = [head(mask_tokens[..., k, :]) for k, head in enumerate(self.heads)]
        return torch.stack(made, dim=-2)

    @property
    def heads(self) -> list[torch.nn.Module]:
        """The K hypernetworks, which all slots share."""
        return list(self.output_hypernetworks_mlps)
