"""The calls of SAM 3's image, SAM 1-task and batched notebooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pipeline import scene

# x, y, width, height of the red circle, in pixels; and a point on each object.
CIRCLE_XYWH = [52.0, 42.0, 76.0, 76.0]
ON_CIRCLE, ON_SQUARE = [90, 80], [230, 170]
SQUARE_XYXY = [196, 136, 264, 204]
CIRCLE_XYXY = [52, 42, 128, 118]


def found(results: Any, truth: Any) -> float:
    """Overlap of the best mask with the truth."""
    masks = results["masks"].squeeze(1).cpu().numpy()
    return max((scene.iou(mask, truth) for mask in masks), default=0.0)


def test_the_image_notebook(picture: Image.Image, pyplot: Any, capsys: Any) -> None:
    import os

    import sam3
    from sam3 import build_sam3_image_model
    from sam3.model.box_ops import box_xywh_to_cxcywh
    from sam3.model.sam3_image_processor import Sam3Processor
    from sam3.visualization_utils import draw_box_on_image, normalize_bbox, plot_results

    root = os.path.join(os.path.dirname(sam3.__file__), "..")
    model = build_sam3_image_model(bpe_path=f"{root}/assets/bpe_simple_vocab_16e6.txt.gz")
    width, height = picture.size
    processor = Sam3Processor(model, confidence_threshold=0.5)
    state = processor.set_image(picture)
    processor.reset_all_prompts(state)
    state = processor.set_text_prompt(state=state, prompt="red circle")
    assert found(state, scene.red_circle(0)) > 0.7
    plot_results(picture, state)
    assert f"found {len(state['scores'])} object(s)" in capsys.readouterr().out

    box = box_xywh_to_cxcywh(torch.tensor(CIRCLE_XYWH).view(-1, 4))
    box = normalize_bbox(box, width, height).flatten().tolist()
    processor.reset_all_prompts(state)
    state = processor.add_geometric_prompt(state=state, box=box, label=True)
    assert found(state, scene.red_circle(0)) > 0.7
    drawn = draw_box_on_image(picture, CIRCLE_XYWH)
    assert drawn.getpixel((52, 42)) == (0, 255, 0)
    pyplot.imshow(drawn)

    processor.reset_all_prompts(state)
    for one, label in zip([box, [0.72, 0.71, 0.2, 0.28]], [True, False], strict=True):
        state = processor.add_geometric_prompt(state=state, box=one, label=label)
    assert found(state, scene.blue_square(0)) == 0
    plot_results(picture, state)


def test_the_interactive_notebook(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.model.sam3_image_processor import Sam3Processor

    processor = Sam3Processor(build_sam3_image_model())
    state = processor.set_image(picture)
    state = processor.set_text_prompt("red circle", state)
    state = processor.set_confidence_threshold(0.99, state)
    assert len(state["masks"]) == len(state["scores"])
    state = processor.reset_all_prompts(state)
    state["prompted_boxes"] = []
    assert (state["original_height"], state["original_width"]) == (scene.HEIGHT, scene.WIDTH)
    state = processor.add_geometric_prompt([0.28, 0.33, 0.24, 0.32], True, state)
    assert state["boxes"].shape[1:] == (4,)


def test_the_sam1_notebook(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.model.sam3_image_processor import Sam3Processor

    model = build_sam3_image_model(bpe_path="vocabulary.gz", enable_inst_interactivity=True)
    processor = Sam3Processor(model)
    state = processor.set_image(picture)
    truth = scene.red_circle(0)

    masks, scores, logits = model.predict_inst(
        state,
        point_coords=np.array([ON_CIRCLE]),
        point_labels=np.array([1]),
        multimask_output=True,
    )
    order = np.argsort(scores)[::-1]
    masks, scores, logits = masks[order], scores[order], logits[order]
    assert masks.shape == (3, scene.HEIGHT, scene.WIDTH)
    assert scores.shape == (3,)
    assert max(scene.iou(mask > 0, truth) for mask in masks) > 0.7

    best = logits[np.argmax(scores), :, :]
    masks, scores, _ = model.predict_inst(
        state,
        point_coords=np.array([ON_CIRCLE, ON_SQUARE]),
        point_labels=np.array([1, 0]),
        mask_input=best[None, :, :],
        multimask_output=False,
    )
    assert masks.shape == (1, scene.HEIGHT, scene.WIDTH)
    assert scene.iou(masks[0] > 0, truth) > 0.7

    box = np.array(CIRCLE_XYXY)
    masks, _, _ = model.predict_inst(
        state, point_coords=None, point_labels=None, box=box[None, :], multimask_output=False
    )
    assert masks.shape == (1, scene.HEIGHT, scene.WIDTH)
    assert scene.iou(masks[0] > 0, truth) > 0.7
    masks, _, _ = model.predict_inst(
        state,
        point_coords=np.array([ON_SQUARE]),
        point_labels=np.array([0]),
        box=box,
        multimask_output=False,
    )
    assert masks.shape == (1, scene.HEIGHT, scene.WIDTH)

    boxes = np.array([CIRCLE_XYXY, SQUARE_XYXY])
    masks, scores, _ = model.predict_inst(
        state, point_coords=None, point_labels=None, box=boxes, multimask_output=False
    )
    assert masks.shape == (2, 1, scene.HEIGHT, scene.WIDTH)
    assert scores.shape == (2, 1)
    for mask, wanted in zip(masks, (truth, scene.blue_square(0)), strict=True):
        assert scene.iou(mask.squeeze(0) > 0, wanted) > 0.7


def test_the_sam1_notebook_on_several_pictures(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.model.sam3_image_processor import Sam3Processor

    model = build_sam3_image_model(enable_inst_interactivity=True)
    pictures = [picture, Image.fromarray(scene.image(5)).resize((160, 120))]
    state = Sam3Processor(model).set_image_batch(pictures)
    boxes = [np.array([CIRCLE_XYXY, SQUARE_XYXY]), np.array([[31, 21, 69, 59]])]
    masks, scores, _ = model.predict_inst_batch(
        state, None, None, box_batch=boxes, multimask_output=False
    )
    assert [one.shape for one in masks] == [(2, 1, 240, 320), (1, 120, 160)]
    one = Sam3Processor(model).set_image(picture)
    alone, _, _ = model.predict_inst(one, box=boxes[0], multimask_output=False)
    assert scene.iou(alone[0, 0] > 0, masks[0][0, 0] > 0) > 0.99

    points = [np.array([[ON_CIRCLE], [ON_SQUARE]]), np.array([[[50, 40]], [[110, 85]]])]
    labels = [np.array([[1], [1]]), np.array([[1], [1]])]
    masks, scores, _ = model.predict_inst_batch(
        state, points, labels, box_batch=None, multimask_output=True
    )
    for each, score in zip(masks, scores, strict=True):
        best = each[range(len(each)), np.argmax(score, axis=-1)]
        assert best.shape[0] == 2


def test_clicks_that_cannot_be_used(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.model.sam3_image_processor import Sam3Processor

    from maskstream.core.errors import ConfigError, PromptError

    model = build_sam3_image_model(enable_inst_interactivity=True)
    state = Sam3Processor(model).set_image(picture)
    for drawn, complaint in (
        ({}, "no prompt"),
        ({"point_coords": [[1, 2]]}, "come together"),
        ({"point_coords": [[1, 2]], "point_labels": [2]}, "1 .on the object., 0"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"expected \(N, P, 2\)"),
        ({"box": [float("nan")] * 4}, "NaN"),
        ({"box": ["a"] * 4}, "as numbers"),
    ):
        with pytest.raises(PromptError, match=complaint):
            model.predict_inst(state, **drawn)
    with pytest.raises(PromptError, match="set_image_batch"):
        model.predict_inst_batch(state)
    plain = build_sam3_image_model()
    state = Sam3Processor(plain).set_image(picture)
    with pytest.raises(ConfigError, match="enable_inst_interactivity=True"):
        plain.predict_inst(state, box=[0, 0, 9, 9])


def test_the_batched_notebook(picture: Image.Image, pyplot: Any) -> None:
    from sam3 import build_sam3_image_model
    from sam3.eval.postprocessors import PostProcessImage
    from sam3.model.sam3_image_processor import Sam3Processor
    from sam3.model.utils.misc import copy_data_to_device
    from sam3.train.data.collator import collate_fn_api as collate
    from sam3.train.data.sam3_image_dataset import (
        Datapoint,
        FindQueryLoaded,
        InferenceMetadata,
    )
    from sam3.train.data.sam3_image_dataset import Image as SAMImage
    from sam3.train.transforms.basic_for_api import (
        ComposeAPI,
        NormalizeAPI,
        RandomResizeAPI,
        ToTensorAPI,
    )
    from sam3.visualization_utils import plot_results

    numbers = iter(range(1, 100))

    def datapoint(image: Image.Image) -> Any:
        width, height = image.size
        point = Datapoint(find_queries=[], images=[])
        point.images = [SAMImage(data=image, objects=[], size=[height, width])]
        return point

    def query(point: Any, text: str, boxes: Any = None, labels: Any = None) -> int:
        height, width = point.images[0].size
        number = next(numbers)
        given: dict[str, Any] = {}
        if boxes is not None:
            given["input_bbox"] = torch.tensor(boxes, dtype=torch.float).view(-1, 4)
            given["input_bbox_label"] = torch.tensor(labels, dtype=torch.bool).view(-1)
        point.find_queries.append(
            FindQueryLoaded(
                query_text=text,
                image_id=0,
                object_ids_output=[],
                is_exhaustive=True,
                query_processing_order=0,
                inference_metadata=InferenceMetadata(
                    coco_image_id=number,
                    original_image_id=number,
                    original_category_id=1,
                    original_size=[height, width],
                    object_id=0,
                    frame_index=0,
                ),
                **given,
            )
        )
        return number

    model = build_sam3_image_model(bpe_path="vocabulary.gz")
    transform = ComposeAPI(
        transforms=[
            RandomResizeAPI(sizes=1008, max_size=1008, square=True, consistent_transform=False),
            ToTensorAPI(),
            NormalizeAPI(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
        ]
    )
    postprocessor = PostProcessImage(
        max_dets_per_img=-1,
        iou_type="segm",
        use_original_sizes_box=True,
        use_original_sizes_mask=True,
        convert_mask_to_rle=False,
        detection_threshold=0.5,
        to_cpu=False,
    )
    small = picture.resize((160, 120))
    one, two = datapoint(picture), datapoint(small)
    circle, square = query(one, "red circle"), query(one, "blue square")
    word = query(two, "blue square")
    shown = query(two, "visual", [[26, 21, 64, 59]], [True])
    both = query(two, "red circle", [[98, 68, 132, 102]], [False])
    batch = collate([transform(one), transform(two)], dict_key="dummy")["dummy"]
    batch = copy_data_to_device(batch, torch.device("cpu"), non_blocking=True)
    results = postprocessor.process_results(model(batch), batch.find_metadatas)
    assert sorted(results) == [circle, square, word, shown, both]
    assert found(results[circle], scene.red_circle(0)) > 0.7
    assert found(results[square], scene.blue_square(0)) > 0.7
    assert results[word]["masks"].shape[1:] == (1, 120, 160)
    assert found(results[shown], scene.red_circle(0)[::2, ::2]) > 0.7
    plot_results(picture, results[circle])

    # The same as one by one.
    processor = Sam3Processor(model)
    state = processor.set_text_prompt("red circle", processor.set_image(picture))
    for name in ("scores", "boxes"):
        torch.testing.assert_close(results[circle][name], state[name], atol=1e-3, rtol=1e-4)

    coded = PostProcessImage(iou_type="segm", use_original_sizes=True, convert_mask_to_rle=True)
    codes = coded.process_results(model(batch), batch.find_metadatas)[circle]["masks_rle"]
    assert codes[0]["size"] == [240, 320]
    best = PostProcessImage(max_dets_per_img=2, iou_type="bbox")
    top = best.process_results(model(batch), batch.find_metadatas)[circle]
    assert top["scores"].shape == (2,)
    assert "masks" not in top
    assert float(top["boxes"].max()) <= 1.01
