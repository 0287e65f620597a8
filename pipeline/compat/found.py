"""What a model finds in a batch, and its results as SAM 3's batched notebook reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maskstream.core.boxes import xyxy_to_cxcywh
from maskstream.core.errors import ConfigError, InputError
from maskstream.core.rle import encode_masks
from maskstream.core.spans import clipped_box
from maskstream.core.types import Detections
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.concepts import EXEMPLAR_ONLY_TEXT, ConceptEncoder
from maskstream.detector.preprocess import picture_size, to_pixels
from maskstream.detector.prompts import Exemplar
from maskstream.pipeline.compat.batches import (
    BatchedDatapoint,
    BatchedInferenceMetadata,
    FindQueryLoaded,
)


class FoundInBatch:
    """The pictures of a batch, encoded; what is found in them depends on the threshold.

    Args:
        model: encodes and finds.
        batch: pictures and queries.
    """

    def __init__(self, model: Sam3ImageModel, batch: BatchedDatapoint) -> None:
        self._model = model
        weight = model.text_projection.weight
        with torch.inference_mode():
            pixels = to_pixels(
                batch.img_batch, model.config.image_size, weight.device, weight.dtype
            )
            self._features = model.encode_image(pixels)
            sizes = [picture_size(picture) for picture in batch.img_batch]
            self._concepts = ConceptEncoder(model, model.tokenizer).batch(
                [_words(query) for query in batch.find_queries],
                [
                    _exemplar(query, sizes[index])
                    for query, index in zip(batch.find_queries, batch.image_index, strict=True)
                ],
                batch.image_index,
            )

    @torch.inference_mode()
    def above(self, threshold: float) -> list[Detections]:
        """The detections of each query with a score above ``threshold``."""
        count = len(self._concepts)
        found = self._model.detect(
            self._features,
            self._concepts,
            torch.arange(count, device=self._concepts.image_index.device),
            score_threshold=threshold,
            nms_iou=None,
        )
        pictures = self._concepts.image_index.tolist()
        return [_of_query(found[picture], query) for query, picture in enumerate(pictures)]


class PostProcessImage:
    """Makes the results of queries out of what the model has found.

    Args:
        max_dets_per_img: at most so many detections for each query, the best; -1 for all.
        iou_type: "segm" gives masks, "bbox" boxes only.
        to_cpu: move the results to the CPU.
        use_original_ids: results are called ``original_image_id``, labels
            ``original_category_id``.
        use_original_sizes_box: boxes in pixels of the picture; otherwise they span 0 to 1.
        use_original_sizes_mask: masks at the size of the picture; otherwise as the model has them.
        use_original_sizes: sets both, as in earlier versions.
        convert_mask_to_rle: masks as run-length codes, under ``masks_rle``.
        always_interpolate_masks_on_gpu: not used.
        use_presence: only True is possible.
        detection_threshold: detections above this score count.

    Raises:
        ConfigError: a value that is not offered.
    """

    def __init__(
        self,
        max_dets_per_img: int = -1,
        iou_type: str = "bbox",
        to_cpu: bool = True,
        use_original_ids: bool = False,
        use_original_sizes_box: bool = False,
        use_original_sizes_mask: bool = False,
        convert_mask_to_rle: bool = False,
        always_interpolate_masks_on_gpu: bool = True,
        use_presence: bool = True,
        detection_threshold: float = -1.0,
        *,
        use_original_sizes: bool = False,
    ) -> None:
        if iou_type not in ("segm", "bbox"):
            raise ConfigError(f"iou_type is {iou_type!r}; it must be 'segm' or 'bbox'")
        if not use_presence:
            raise ConfigError("use_presence is False; scores always include the presence score")
        self._most = max_dets_per_img
        self._with_masks = iou_type == "segm"
        self._to_cpu = to_cpu
        self._use_original_ids = use_original_ids
        self._boxes_in_pixels = use_original_sizes_box or use_original_sizes
        self._masks_at_size = use_original_sizes_mask or use_original_sizes
        self._as_rle = convert_mask_to_rle
        self._threshold = detection_threshold

    @torch.inference_mode()
    def process_results(
        self, find_stages: FoundInBatch, find_metadatas: Sequence[BatchedInferenceMetadata]
    ) -> dict[int, dict[str, Any]]:
        """The results of each query.

        Args:
            find_stages: what the model gave for a batch.
            find_metadatas: of the same batch.

        Returns:
            By ``coco_image_id``: ``scores`` (N,), ``labels`` (N,), ``boxes`` (N, 4) x0, y0, x1, y1,
            and ``masks`` (N, 1, H, W) bool or ``masks_rle``.
        """
        (about,) = find_metadatas
        ids = about.original_image_id if self._use_original_ids else about.coco_image_id
        results: dict[int, dict[str, Any]] = {}
        for query, found in enumerate(find_stages.above(self._threshold)):
            height, width = about.original_size[query].tolist()
            label = int(about.original_category_id[query]) if self._use_original_ids else 1
            one = self._result(_best(found, self._most), (height, width), label)
            key = int(ids[query])
            results[key] = _joined(results[key], one) if key in results else one
        return results

    def _result(self, found: Detections, size: tuple[int, int], label: int) -> dict[str, Any]:
        height, width = size
        boxes = found.boxes
        if self._boxes_in_pixels:
            boxes = boxes * boxes.new_tensor([width, height, width, height])
        result: dict[str, Any] = {
            "scores": found.scores,
            "labels": torch.full_like(found.scores, label, dtype=torch.int64),
            "boxes": boxes,
        }
        if self._with_masks:
            masks = found.masks[:, None]
            if self._masks_at_size:
                masks = (
                    functional.interpolate(masks, size, mode="bilinear")
                    if len(found)
                    else masks.new_zeros(0, 1, *size)
                )
            result["masks"] = masks.sigmoid() > 0.5
        if self._to_cpu:
            result = {name: value.cpu() for name, value in result.items()}
        if self._as_rle and self._with_masks:
            result["masks_rle"] = encode_masks(result.pop("masks")[:, 0].cpu().numpy())
        return result


def _words(query: FindQueryLoaded) -> str | None:
    return None if query.query_text == EXEMPLAR_ONLY_TEXT else query.query_text


def _exemplar(query: FindQueryLoaded, size: tuple[int, int]) -> Exemplar:
    """The boxes of a query, for the detector."""
    shown = Exemplar()
    if query.input_bbox is None:
        return shown
    height, width = size
    corners = torch.as_tensor(query.input_bbox, dtype=torch.float32).reshape(-1, 4)
    labels = torch.ones(len(corners)) if query.input_bbox_label is None else query.input_bbox_label
    cut = [clipped_box(box, width, height) for box in corners.tolist()]
    if None in cut or len(torch.as_tensor(labels).flatten()) != len(cut):
        raise InputError(
            f"the query {query.query_text!r} has boxes outside its picture of {width}×{height} "
            "pixels, or another number of labels; boxes are x0, y0, x1, y1 in pixels"
        )
    inside = torch.tensor(cut) / torch.tensor([width, height, width, height])
    shown.boxes = [(cx, cy, w, h) for cx, cy, w, h in xyxy_to_cxcywh(inside).tolist()]
    shown.box_labels = [int(label) for label in torch.as_tensor(labels).flatten().tolist()]
    return shown


def _of_query(found: Detections, query: int) -> Detections:
    return _select(found, (found.prompt_ids == query).nonzero().flatten())


def _best(found: Detections, most: int) -> Detections:
    if most <= 0 or len(found) <= most:
        return found
    return _select(found, found.scores.topk(most).indices)


def _select(found: Detections, rows: Tensor) -> Detections:
    return Detections(
        found.prompt_ids[rows], found.scores[rows], found.boxes[rows], found.masks[rows]
    )


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The results of two queries that go by one id."""
    return {
        name: torch.cat([value, other[name]]) if isinstance(value, Tensor) else value + other[name]
        for name, value in one.items()
    }
