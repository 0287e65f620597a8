"""Batches of pictures with queries, and boxes from one way of writing to another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image as Pictures

from maskstream.core.errors import ConfigError, InputError
from maskstream.pipeline.compat import box_ops
from maskstream.pipeline.compat.batches import (
    Datapoint,
    FindQueryLoaded,
    Image,
    InferenceMetadata,
    collate_fn_api,
    copy_data_to_device,
)
from maskstream.pipeline.compat.builders import build_sam3_image_model
from maskstream.pipeline.compat.found import PostProcessImage
from maskstream.pipeline.compat.transforms import NormalizeAPI, RandomResizeAPI

PICTURE = Pictures.new("RGB", (64, 48), (200, 30, 30))


def about(number: int) -> InferenceMetadata:
    return InferenceMetadata(number, 10 * number, 3, (48, 64), 0, 0)


def point(*queries: FindQueryLoaded) -> Datapoint:
    return Datapoint(list(queries), [Image(PICTURE, [], (48, 64))])


def test_queries_keep_their_pictures_and_their_names() -> None:
    one = FindQueryLoaded("cat", 0, inference_metadata=about(1))
    two = FindQueryLoaded("dog", 0, inference_metadata=about(2))
    batch = collate_fn_api([point(one), point(two, one)], "all", False, repeats=0)["all"]
    assert batch.image_index == [0, 1, 1]
    assert batch.find_text_batch == ["cat", "dog"]
    (columns,) = batch.find_metadatas
    assert columns.coco_image_id.tolist() == [1, 2, 1]
    assert columns.original_size.tolist() == [[48, 64]] * 3
    moved = copy_data_to_device(batch, "cpu", non_blocking=True)
    assert moved.img_batch[0] is PICTURE
    assert moved.find_metadatas[0].coco_image_id.tolist() == [1, 2, 1]


def test_data_of_every_shape_is_moved() -> None:
    number = torch.ones(2)
    assert copy_data_to_device({"a": [number, (number, "b")]}, "meta")["a"][1][0].is_meta
    assert copy_data_to_device(InferenceMetadata, "cpu") is InferenceMetadata


def test_results_of_one_name_are_joined() -> None:
    model = build_sam3_image_model(device="cpu")
    one = FindQueryLoaded("circle", 0, inference_metadata=about(1))
    same = FindQueryLoaded("square", 0, inference_metadata=about(1))
    batch = collate_fn_api([point(one, same)], "all")["all"]
    every = PostProcessImage(use_original_ids=True).process_results(
        model(batch), batch.find_metadatas
    )
    assert set(every) == {10}
    num_queries = model.config.detr_decoder_config.num_queries
    assert every[10]["scores"].shape == (2 * num_queries,)
    assert set(every[10]["labels"].tolist()) == {3}


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        (None, "no query"),
        (FindQueryLoaded("cat", 0), "no inference_metadata"),
    ],
)
def test_batches_that_cannot_be_made(query: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        collate_fn_api([point() if query is None else point(query)], "all")


@pytest.mark.parametrize("boxes", [[[70, 0, 90, 10]], [[0, 0, 9, 9], [1, 1, 5, 5]]])
def test_boxes_that_do_not_fit_their_picture_or_labels(boxes: list[list[float]]) -> None:
    model = build_sam3_image_model(device="cpu")
    query = FindQueryLoaded(
        "cat",
        0,
        input_bbox=torch.tensor(boxes, dtype=torch.float32),
        input_bbox_label=torch.tensor([True]),
        inference_metadata=about(1),
    )
    with pytest.raises(InputError, match="outside its picture of 64×48 pixels, or another number"):
        model(collate_fn_api([point(query)], "all")["all"])


def test_what_the_model_does_not_offer_is_refused() -> None:
    for make, complaint in (
        (lambda: RandomResizeAPI(1008), "squares"),
        (lambda: NormalizeAPI([0.48, 0.45, 0.4], [0.5] * 3), "mean"),
        (lambda: PostProcessImage(iou_type="boxes"), "iou_type"),
        (lambda: PostProcessImage(use_presence=False), "presence"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            make()


def test_boxes_come_back_from_every_way_of_writing() -> None:
    corners = torch.tensor([[1.0, 2.0, 5.0, 10.0], [0.0, 0.0, 1.0, 1.0]])
    assert box_ops.box_xyxy_to_xywh(corners)[0].tolist() == [1, 2, 4, 8]
    assert box_ops.box_xyxy_to_cxcywh(corners)[0].tolist() == [3, 6, 4, 8]
    for there, back in (
        (box_ops.box_xyxy_to_xywh, box_ops.box_xywh_to_xyxy),
        (box_ops.box_xyxy_to_cxcywh, box_ops.box_cxcywh_to_xyxy),
    ):
        assert torch.equal(back(there(corners)), corners)
    sized = box_ops.box_xyxy_to_xywh(corners)
    assert torch.equal(box_ops.box_cxcywh_to_xywh(box_ops.box_xywh_to_cxcywh(sized)), sized)
