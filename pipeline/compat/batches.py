"""Batches of pictures with several queries each, as SAM 3's batched notebook makes them.

A ``Datapoint`` is one picture with its queries; ``collate_fn_api`` makes one batch of several.
Pictures stay what they are until the model takes them, so the results are those of
``Sam3Processor``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from maskstream.core.errors import InputError
from maskstream.detector.preprocess import Picture


@dataclass
class InferenceMetadata:
    """What the results of a query are called, and how large its picture is.

    Attributes:
        coco_image_id: the key of the query's results.
        original_image_id: the key where ``PostProcessImage`` uses original ids.
        original_category_id: the label of what is found.
        original_size: (height, width) of the picture in pixels.
        object_id: not used.
        frame_index: not used.
        is_conditioning_only: not used.
    """

    coco_image_id: int
    original_image_id: int
    original_category_id: int
    original_size: Sequence[int]
    object_id: int
    frame_index: int
    is_conditioning_only: bool | None = False


@dataclass
class FindQueryLoaded:
    """One thing to find in a picture: words, boxes, or both.

    Attributes:
        query_text: the words; "visual" where only boxes show what is meant.
        image_id: number of the picture within the datapoint.
        input_bbox: (N, 4) x0, y0, x1, y1 in pixels of the picture.
        input_bbox_label: (N,) true for "like this", false for "not like this".
        inference_metadata: what the results are called.

    All other fields are for training, and not used.
    """

    query_text: str
    image_id: int
    object_ids_output: list[int] = field(default_factory=list)
    is_exhaustive: bool = True
    query_processing_order: int = 0
    input_bbox: Tensor | None = None
    input_bbox_label: Tensor | None = None
    input_points: Tensor | None = None
    semantic_target: Tensor | None = None
    is_pixel_exhaustive: bool | None = None
    inference_metadata: InferenceMetadata | None = None
    query_type: Any = None


@dataclass
class Image:
    """A picture of a datapoint.

    Attributes:
        data: a PIL image, or an array or tensor as ``Sam3Processor.set_image`` takes it.
        objects: for training, not used.
        size: (height, width) in pixels.
    """

    data: Picture
    objects: list[Any]
    size: Sequence[int]
    blurring_mask: Any = None


@dataclass
class Datapoint:
    """A picture, and what is to be found in it."""

    find_queries: list[FindQueryLoaded]
    images: list[Image]
    raw_images: list[Any] | None = None


@dataclass
class BatchedInferenceMetadata:
    """The metadata of all queries of a batch, column by column."""

    coco_image_id: Tensor
    original_image_id: Tensor
    original_category_id: Tensor
    original_size: Tensor


@dataclass
class BatchedDatapoint:
    """Several datapoints as one batch, for the model.

    Attributes:
        img_batch: all pictures.
        find_queries: all queries.
        image_index: for each query the number of its picture.
        find_metadatas: a list of one entry, the metadata of all queries.
    """

    img_batch: list[Picture]
    find_queries: list[FindQueryLoaded]
    image_index: list[int]
    find_metadatas: list[BatchedInferenceMetadata]

    @property
    def find_text_batch(self) -> list[str]:
        """The words of all queries, each once."""
        return list(dict.fromkeys(query.query_text for query in self.find_queries))


def collate_fn_api(
    batch: Sequence[Datapoint], dict_key: str, *unused: Any, **training: Any
) -> dict[str, BatchedDatapoint]:
    """One batch of several datapoints, under ``dict_key``.

    Args:
        batch: the datapoints.
        dict_key: the key of the result.
        unused: further arguments of the original, which are for training.
        training: the same, by name.

    Raises:
        InputError: there is no query, or one without metadata.
    """
    pictures: list[Picture] = []
    queries: list[FindQueryLoaded] = []
    index: list[int] = []
    about: list[InferenceMetadata] = []
    for datapoint in batch:
        for query in datapoint.find_queries:
            if query.inference_metadata is None:
                raise InputError(f"the query {query.query_text!r} has no inference_metadata")
            queries.append(query)
            about.append(query.inference_metadata)
            index.append(len(pictures) + query.image_id)
        pictures += [image.data for image in datapoint.images]
    if not queries:
        raise InputError("the datapoints hold no query; there is nothing to find")
    columns = {
        spec.name: torch.tensor([getattr(one, spec.name) for one in about])
        for spec in dataclasses.fields(BatchedInferenceMetadata)
    }
    return {
        dict_key: BatchedDatapoint(pictures, queries, index, [BatchedInferenceMetadata(**columns)])
    }


def copy_data_to_device(data: Any, device: torch.device | str, **options: Any) -> Any:
    """A copy of nested data with all tensors on ``device``; pictures stay as they are."""
    if isinstance(data, Tensor):
        return data.to(device, **options)
    if isinstance(data, Mapping):
        return {key: copy_data_to_device(value, device, **options) for key, value in data.items()}
    if isinstance(data, list | tuple):
        copied = [copy_data_to_device(value, device, **options) for value in data]
        return copied if isinstance(data, list) else tuple(copied)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        parts = {spec.name: getattr(data, spec.name) for spec in dataclasses.fields(data)}
        return type(data)(**copy_data_to_device(parts, device, **options))
    return data


recursive_to = copy_data_to_device
