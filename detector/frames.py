"""What the detector does for one frame of a video: everything that needs no other frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.concepts import EXEMPLAR_ONLY_TEXT, ConceptEncoder
from maskstream.detector.model import ImageFeatures
from maskstream.detector.preprocess import Picture, to_pixels
from maskstream.detector.prompts import ConceptBatch, Exemplar, batch_exemplars, pad_tokens

_BATCHES_REMEMBERED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """Something to be found in every frame.

    Attributes:
        prompt_id: what its detections are called.
        text: its words; None when it is only shown.
        exemplars: (G, C) encoded exemplars, or None when it is only named.
    """

    prompt_id: int
    text: str | None
    exemplars: Tensor | None

    @property
    def label(self) -> str:
        """What results call it."""
        return EXEMPLAR_ONLY_TEXT if self.text is None else self.text


@dataclass(frozen=True, slots=True)
class DetectionRules:
    """Which detections count.

    Attributes:
        score_threshold: those above this joint score.
        nms_iou: of two of one concept that overlap more than this, the better; None keeps both.
        nms_by: "iou", or "iom": overlap is intersection over the smaller area.
    """

    score_threshold: float
    nms_iou: float | None
    nms_by: str = "iou"


@dataclass(frozen=True, slots=True)
class DetectedFrame:
    """What detection gives of one frame, on the device it was made on.

    Attributes:
        features: of the frame, for the tracker.
        detections: of all concepts that were asked for.
        exemplar: (G, C) tokens of the exemplar that was shown on it, if one was.
    """

    features: TrackerFeatures
    detections: Detections
    exemplar: Tensor | None = None


class FrameDetector:
    """Finds concepts in single frames. Remembers texts, nothing of the frames.

    Args:
        model: may be shared; this object belongs to one thread at a time.
    """

    def __init__(self, model: Sam3ImageModel) -> None:
        self.model = model
        self._texts = ConceptEncoder(model, model.tokenizer)
        self._batches: OrderedDict[tuple[int, ...], tuple[list[Concept], ConceptBatch]] = (
            OrderedDict()
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.text_projection.weight.device

    @torch.inference_mode()
    def check_text(self, text: str) -> None:
        """Encode a text, so that it is at hand later.

        Raises:
            PromptError: it is empty or too long.
        """
        self._texts.encode_texts([text])

    @torch.inference_mode()
    def encode(self, images: Sequence[Picture]) -> ImageFeatures:
        """Features of B pictures of any sizes, for detector and tracker: one ViT pass.

        Raises:
            ImageError: a picture that cannot be used.
        """
        model = self.model
        dtype = model.text_projection.weight.dtype
        pixels = to_pixels(images, model.config.image_size, self.device, dtype)
        return model.encode_image(pixels, tracker=True)

    @torch.inference_mode()
    def encode_exemplar(self, features: ImageFeatures, shown: Exemplar) -> Tensor:
        """(G, C) what ``shown`` says on the one picture that was encoded."""
        tokens = self.model.encode_exemplars(
            features,
            batch_exemplars([shown], self.device),
            torch.zeros(1, dtype=torch.int64, device=self.device),
        )
        return tokens.tokens[0][tokens.valid[0]]

    @torch.inference_mode()
    def detect(
        self, features: ImageFeatures, concepts: Sequence[Concept], rules: DetectionRules
    ) -> Detections:
        """Find all concepts in the one picture that was encoded, as one batch."""
        if not concepts:
            height, width = features.levels[0].shape[-2:]
            return Detections.empty((height, width), self.device)
        ids = torch.tensor([concept.prompt_id for concept in concepts], device=self.device)
        return self.model.detect(
            features,
            self._batch(list(concepts)),
            ids,
            score_threshold=rules.score_threshold,
            nms_iou=rules.nms_iou,
            nms_by=rules.nms_by,
        )[0]

    @torch.inference_mode()
    def detect_each(
        self,
        features: ImageFeatures,
        wanted: Sequence[tuple[Sequence[Concept], DetectionRules]],
    ) -> list[Detections]:
        """Find in each of B encoded pictures its own concepts.

        On a GPU the concepts of all pictures are one batch. On the CPU, where that gains nothing,
        each picture is a batch of its own.

        Args:
            wanted: B times concepts and rules; the rules agree in suppression.
        """
        if self.device.type == "cpu" or len(wanted) == 1:
            return [
                self.detect(_picture(features, index), concepts, rules)
                for index, (concepts, rules) in enumerate(wanted)
            ]
        return self._detect_together(features, wanted)

    def _detect_together(
        self,
        features: ImageFeatures,
        wanted: Sequence[tuple[Sequence[Concept], DetectionRules]],
    ) -> list[Detections]:
        rows = [
            (index, concept) for index, (concepts, _) in enumerate(wanted) for concept in concepts
        ]
        if not rows:
            return [self.detect(features, [], rules) for _, rules in wanted]
        batch = replace(
            self._batch([concept for _, concept in rows]),
            image_index=torch.tensor([index for index, _ in rows], device=self.device),
        )
        found = self.model.detect(
            features,
            batch,
            torch.tensor([concept.prompt_id for _, concept in rows], device=self.device),
            score_threshold=min(rules.score_threshold for _, rules in wanted),
            nms_iou=wanted[0][1].nms_iou,
            nms_by=wanted[0][1].nms_by,
        )
        # Suppression goes from the best down, so what a higher threshold drops has dropped nothing.
        return [
            _above(one, rules.score_threshold)
            for one, (_, rules) in zip(found, wanted, strict=True)
        ]

    def _batch(self, concepts: list[Concept]) -> ConceptBatch:
        """Concepts as one batch, which is kept for the next frame."""
        key = tuple(map(id, concepts))
        known = self._batches.get(key)
        if known is not None:
            self._batches.move_to_end(key)
            return known[1]
        batch = self._texts.batch([concept.text for concept in concepts])
        if any(concept.exemplars is not None for concept in concepts):
            none = batch.text.tokens.new_zeros(0, batch.text.tokens.shape[-1])
            shown = pad_tokens([none if c.exemplars is None else c.exemplars for c in concepts])
            batch = ConceptBatch(batch.text, batch.image_index, exemplars=shown)
        # The concepts are kept too: while they live, nothing else has their ids.
        self._batches[key] = (concepts, batch)
        if len(self._batches) > _BATCHES_REMEMBERED:
            self._batches.popitem(last=False)
        return batch


def _picture(features: ImageFeatures, index: int) -> ImageFeatures:
    """One of the pictures that were encoded together."""
    if features.levels[0].shape[0] == 1:
        return features
    levels = tuple(level[index : index + 1] for level in features.levels)
    own = features.tracker_features(index)
    return ImageFeatures(levels, own.levels, own.interactive)


def _above(found: Detections, threshold: float) -> Detections:
    keep = found.scores > threshold
    return Detections(
        found.prompt_ids[keep], found.scores[keep], found.boxes[keep], found.masks[keep]
    )
