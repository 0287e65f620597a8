"""The calls of FiftyOne, ComfyUI-Easy-Sam3 and Roboflow's image block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskstream.core.errors import ConfigError, PromptError
from tests.compatibility.conftest import NUM_FRAMES
from tests.pipeline import scene


def test_fiftyone_on_pictures(picture: Image.Image) -> None:
    import sam3.model.sam3_image_processor as processors
    import sam3.model_builder as builder

    model = builder.build_sam3_image_model(device="cpu", load_from_HF=True)
    processor = processors.Sam3Processor(model, confidence_threshold=0.4)
    state = processor.set_image(picture)
    output = processor.set_text_prompt("red circle", state)
    rows = list(zip(output["masks"], output["boxes"], output["scores"], strict=True))
    assert rows
    for mask, box, score in rows:
        x0, y0, x1, y1 = box.cpu().numpy()
        crop = np.squeeze(mask.cpu().numpy(), axis=0)[round(y0) : round(y1), round(x0) : round(x1)]
        assert crop.dtype == bool
        assert score.item() > 0.4
    # Where pixels are sent for what SAM 3 takes as normalised, this is said.
    with pytest.raises(PromptError, match="look like pixels"):
        processor.add_geometric_prompt(box=[90.0, 80.0, 76.0, 76.0], label=True, state=state)


def test_fiftyone_on_videos(clip: Path) -> None:
    from sam3.model_builder import build_sam3_video_predictor

    predictor = build_sam3_video_predictor(device=torch.device("cpu"))
    session_id = predictor.handle_request(
        request={"type": "start_session", "resource_path": str(clip)}
    )["session_id"]
    try:
        predictor.handle_request(
            request={
                "type": "add_prompt",
                "session_id": session_id,
                "frame_index": 0,
                "text": "red circle",
            }
        )
        numbers = []
        for result in predictor.handle_stream_request(
            request={
                "type": "propagate_in_video",
                "session_id": session_id,
                "propagation_direction": "forward",
            }
        ):
            outputs = result.get("outputs", {})
            boxes = outputs.get("out_boxes_xywh")
            assert len(outputs.get("out_binary_masks")) == len(boxes) == 1
            assert float(outputs.get("out_probs")[0].item()) > 0
            assert int(outputs.get("out_obj_ids")[0]) == 0
            numbers.append(result.get("frame_index", 0) + 1)
    finally:
        predictor.handle_request(request={"type": "close_session", "session_id": session_id})
    assert numbers == list(range(1, NUM_FRAMES + 1))
    predictor.shutdown()


def test_comfyui_on_pictures(picture: Image.Image) -> None:
    from sam3.model.sam3_image_processor import Sam3Processor
    from sam3.model_builder import build_sam3_image_model

    model = build_sam3_image_model(
        device="cpu",
        eval_mode=True,
        checkpoint_path="tiny",
        load_from_HF=False,
        enable_segmentation=True,
        enable_inst_interactivity=False,
        compile=False,
    )
    processor = Sam3Processor(model=model, resolution=1008, confidence_threshold=0.3)
    processor.set_confidence_threshold(0.4)
    model.to(torch.device("cpu"))
    masks, scores = [], []
    for text in ("red circle", "blue square"):
        state = processor.set_text_prompt(text, processor.set_image(picture))
        masks.append(state.get("masks", None))
        scores.append(state.get("scores", None))
    order = torch.argsort(torch.cat(scores, dim=0), descending=True)
    union = (torch.cat(masks, dim=0)[order].sum(dim=0) > 0)[0].numpy()
    assert scene.iou(union, scene.red_circle(0) | scene.blue_square(0)) > 0.7


RULES = {
    "assoc_iou_thresh": 0.1,
    "det_nms_thresh": 0.1,
    "hotstart_delay": 15,
    "hotstart_unmatch_thresh": 8,
    "hotstart_dup_thresh": 8,
    "suppress_unmatched_only_within_hotstart": True,
    "min_trk_keep_alive": -1,
    "max_trk_keep_alive": 30,
    "init_trk_keep_alive": 30,
    "suppress_overlapping_based_on_recent_occlusion_threshold": 0.7,
    "suppress_det_close_to_boundary": False,
    "fill_hole_area": 16,
    "recondition_every_nth_frame": 16,
    "masklet_confirmation_enable": False,
    "decrease_trk_keep_alive_for_empty_masklets": False,
    "image_size": 1008,
}


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ({"text": "red circle", "obj_id": 1}, "red circle"),
        ({"points": [[0.28, 0.33]], "point_labels": [1], "obj_id": 1}, "object"),
        (
            {
                "bounding_boxes": [[0.16, 0.17, 0.24, 0.33]],
                "bounding_box_labels": [1],
                "obj_id": 1,
            },
            "object",
        ),
        (
            {
                "bounding_boxes": [[0.16, 0.17, 0.24, 0.33], [0.61, 0.56, 0.21, 0.29]],
                "bounding_box_labels": [1, 0],
                "obj_id": 1,
            },
            "visual",
        ),
    ],
)
def test_comfyui_on_frames(prompt: dict[str, Any], label: str) -> None:
    from sam3.model_builder import build_sam3_video_predictor

    predictor = build_sam3_video_predictor(checkpoint_path="tiny", gpus_to_use=None)
    for name, value in {"score_threshold_detection": 0.5, "new_det_thresh": 0.7, **RULES}.items():
        assert hasattr(predictor.model, name)
        setattr(predictor.model, name, value)
    frames = [Image.fromarray(scene.image(index)) for index in range(4)]
    answer = predictor.handle_request(
        request={"type": "start_session", "resource_path": frames, "session_id": None}
    )
    session_id = answer.get("session_id", None)
    predictor.model.to(torch.device("cpu"))
    empty = dict.fromkeys(("text", "bounding_boxes", "bounding_box_labels", "points"))
    request = {"type": "add_prompt", "session_id": session_id, "frame_index": 0}
    predictor.handle_request(request=request | empty | prompt)
    union = {}
    for answer in predictor.handle_stream_request(
        request={
            "type": "propagate_in_video",
            "session_id": session_id,
            "propagation_direction": "both",
            "start_frame_index": 0,
            "max_frame_num_to_track": None,
        }
    ):
        assert set(answer["outputs"]["out_labels"]) == {label}
        union[answer["frame_index"]] = np.any(answer["outputs"]["out_binary_masks"], axis=0)
    assert sorted(union) == [0, 1, 2, 3]
    assert scene.iou(union[3], scene.red_circle(3)) > 0.6
    predictor.handle_request(request={"type": "close_session", "session_id": session_id})
    predictor.model.to(torch.device("cpu"))
    predictor.shutdown()


def test_rules_are_those_of_sessions_that_start_later(clip: Path) -> None:
    from sam3.model_builder import build_sam3_video_predictor

    predictor = build_sam3_video_predictor()
    predictor.model.score_threshold_detection = 1.0
    session_id = predictor.start_session(clip)["session_id"]
    assert len(predictor.add_prompt(session_id, 0, "red circle")["outputs"]["out_obj_ids"]) == 0
    predictor.model.score_threshold_detection = 0.5
    predictor.model.recondition_every_nth_frame = -1
    again = predictor.start_session(clip)["session_id"]
    assert len(predictor.add_prompt(again, 0, "red circle")["outputs"]["out_obj_ids"]) == 1
    predictor.model.hotstart_delay = 3  # does not go with the other two, of 8
    with pytest.raises(ConfigError, match="hotstart_unmatch_thresh is 8"):
        predictor.start_session(clip)
    with pytest.raises(ConfigError, match="image_size"):
        predictor.model.image_size = 504
    with pytest.raises(ConfigError, match="masklet_confirmation_enable"):
        predictor.model.masklet_confirmation_enable = True
    with pytest.raises(AttributeError, match="assoc_iou_tresh"):
        predictor.model.assoc_iou_tresh = 0.5
    predictor.shutdown()


def test_roboflow_on_pictures(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.eval.postprocessors import PostProcessImage
    from sam3.model.utils.misc import copy_data_to_device
    from sam3.train.data.collator import collate_fn_api
    from sam3.train.data.sam3_image_dataset import Datapoint, FindQueryLoaded, InferenceMetadata
    from sam3.train.data.sam3_image_dataset import Image as PictureOfPoint
    from sam3.train.transforms.basic_for_api import (
        ComposeAPI,
        NormalizeAPI,
        RandomResizeAPI,
        ToTensorAPI,
    )

    model = build_sam3_image_model(
        bpe_path="bpe.gz",
        checkpoint_path="tiny",
        device="cuda" if torch.cuda.is_available() else "cpu",
        load_from_HF=False,
        compile=False,
    )
    transform = ComposeAPI(
        transforms=[
            RandomResizeAPI(sizes=1008, max_size=1008, square=True, consistent_transform=False),
            ToTensorAPI(),
            NormalizeAPI(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
        ]
    )
    width, height = picture.size
    point = Datapoint(
        find_queries=[],
        images=[PictureOfPoint(data=picture, objects=[], size=(height, width))],
    )
    box, label = torch.tensor([[52.0, 42.0, 128.0, 118.0]]), torch.tensor([True])
    for number, (text, boxes, labels) in enumerate(
        [("blue square", None, None), ("visual", box, label)]
    ):
        point.find_queries.append(
            FindQueryLoaded(
                query_text=text,
                image_id=0,
                object_ids_output=[],
                is_exhaustive=True,
                query_processing_order=0,
                input_bbox=boxes,
                input_bbox_label=labels,
                input_points=None,
                semantic_target=None,
                is_pixel_exhaustive=None,
                inference_metadata=InferenceMetadata(
                    coco_image_id=number,
                    original_image_id=number,
                    original_category_id=1,
                    original_size=(height, width),
                    object_id=0,
                    frame_index=0,
                ),
            )
        )
    batch = collate_fn_api(batch=[transform(point)], dict_key="dummy")["dummy"]
    batch = copy_data_to_device(batch, model.device, non_blocking=True)
    with torch.inference_mode():
        output = model(batch)
        results = PostProcessImage(
            max_dets_per_img=-1,
            iou_type="segm",
            use_original_sizes_box=True,
            use_original_sizes_mask=True,
            convert_mask_to_rle=False,
            detection_threshold=0.35,
            to_cpu=True,
        ).process_results(output, batch.find_metadatas)
    for number, truth in enumerate((scene.blue_square(0), scene.red_circle(0))):
        masks = results[number].get("masks").detach().cpu().numpy().astype(np.uint8)[:, 0]
        assert max(scene.iou(mask > 0, truth) for mask in masks) > 0.7
        assert len(list(results[number].get("scores", []))) == len(masks)


def test_roboflow_on_clicks(picture: Image.Image) -> None:
    from sam3 import build_sam3_image_model
    from sam3.model.sam3_image_processor import Sam3Processor

    model = build_sam3_image_model(
        bpe_path="bpe.gz",
        checkpoint_path="tiny",
        device="cpu",
        load_from_HF=False,
        compile=False,
        enable_inst_interactivity=True,
    )
    state = Sam3Processor(model).set_image(torch.from_numpy(scene.image(0)).permute(2, 0, 1))
    # Two objects; the second has one point less, and -1 fills it up.
    masks, scores, logits = model.predict_inst(
        state,
        mask_input=None,
        multimask_output=True,
        return_logits=True,
        normalize_coords=True,
        point_coords=[[[90, 80], [230, 170]], [[230, 170], [0, 0]]],
        point_labels=[[1, 0], [1, -1]],
        box=None,
    )
    assert masks.shape == (2, 3, scene.HEIGHT, scene.WIDTH)
    for each, score, truth in zip(
        masks, scores, (scene.red_circle(0), scene.blue_square(0)), strict=True
    ):
        assert scene.iou(each[np.argmax(score)] > 0, truth) > 0.6
    best = logits[range(2), scores.argmax(axis=1)][:, None]
    again, _, _ = model.predict_inst(
        state,
        mask_input=best,
        point_coords=[[[90, 80]], [[230, 170]]],
        point_labels=[[1], [1]],
        multimask_output=False,
    )
    assert again.shape == (2, 1, scene.HEIGHT, scene.WIDTH)
    nothing = {"point_coords": [[0, 0]], "point_labels": [-1], "box": None}
    assert model.predict_inst(state, **nothing)[0].shape == (3, scene.HEIGHT, scene.WIDTH)
