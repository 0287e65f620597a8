"""The calls of SAM 3's video and SAM 2-task notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.compatibility.conftest import NUM_FRAMES
from tests.pipeline import scene

WIDTH, HEIGHT = scene.WIDTH, scene.HEIGHT


def propagate(predictor: Any, session_id: str) -> dict[int, Any]:
    request = {"type": "propagate_in_video", "session_id": session_id}
    answers = predictor.handle_stream_request(request=request)
    return {answer["frame_index"]: answer["outputs"] for answer in answers}


def test_the_video_notebook(tmp_path: Path, pyplot: Any) -> None:
    from sam3.model_builder import build_sam3_video_predictor
    from sam3.visualization_utils import (
        load_frame,
        prepare_masks_for_visualization,
        visualize_formatted_frame_output,
    )

    files = [str(tmp_path / f"{index}.jpg") for index in range(NUM_FRAMES)]
    for index, name in enumerate(files):
        Image.fromarray(scene.image(index)).save(name, quality=95)
    predictor = build_sam3_video_predictor(gpus_to_use=range(torch.cuda.device_count()))
    request: dict[str, Any] = {"type": "start_session", "resource_path": str(tmp_path)}
    session_id = predictor.handle_request(request=request)["session_id"]
    predictor.handle_request(request={"type": "reset_session", "session_id": session_id})
    request = {"type": "add_prompt", "session_id": session_id, "frame_index": 0}
    outputs = predictor.handle_request(request={**request, "text": "red circle"})["outputs"]
    (obj_id,) = outputs["out_obj_ids"].tolist()
    visualize_formatted_frame_output(
        0,
        files,
        outputs_list=[prepare_masks_for_visualization({0: outputs})],
        titles=["SAM 3"],
        figsize=(6, 4),
    )
    masks = prepare_masks_for_visualization(propagate(predictor, session_id))
    assert sorted(masks) == list(range(NUM_FRAMES))
    assert all(list(found) == [obj_id] for found in masks.values())

    remove = {"type": "remove_object", "session_id": session_id, "obj_id": obj_id}
    assert predictor.handle_request(request=remove)["is_success"]
    without = propagate(predictor, session_id)
    assert sorted(without) == list(range(NUM_FRAMES))
    assert all(len(outputs["out_obj_ids"]) == 0 for outputs in without.values())

    width, height = Image.fromarray(load_frame(files[0])).size
    clicks, labels = np.array([[90, 80], [230, 170]]), np.array([1, 0])
    click = {
        **request,
        "points": torch.tensor(clicks / [width, height], dtype=torch.float32),
        "point_labels": torch.tensor(labels, dtype=torch.int32),
        "obj_id": obj_id,
    }
    outputs = predictor.handle_request(request=click)["outputs"]
    assert obj_id in outputs["out_obj_ids"].tolist()
    visualize_formatted_frame_output(
        0,
        files,
        outputs_list=[prepare_masks_for_visualization({0: outputs})],
        points_list=[clicks],
        points_labels_list=[labels],
    )
    masks = prepare_masks_for_visualization(propagate(predictor, session_id))
    assert scene.iou(masks[NUM_FRAMES - 1][obj_id], scene.red_circle(NUM_FRAMES - 1)) > 0.6
    predictor.handle_request(request={"type": "close_session", "session_id": session_id})
    predictor.shutdown()


def test_the_predictors_methods(clip: Path) -> None:
    from sam3.model_builder import build_sam3_predictor

    predictor = build_sam3_predictor(None, None, "sam3.1", True, True, 16, 16, use_fa3=True)
    session_id = predictor.start_session(clip)["session_id"]
    answer = predictor.add_prompt(session_id, 0, text=["red circle", "blue square"])
    assert answer["outputs"]["out_labels"] == ["red circle", "blue square"]
    order = [
        answer["frame_index"]
        for answer in predictor.propagate_in_video(session_id, "forward", 1, 2)
    ]
    assert order == [1, 2, 3]
    assert predictor.cancel_propagation(session_id)["is_success"] is False
    assert predictor.remove_object(session_id, 1, is_user_action=True)["is_success"]
    assert predictor.reset_session(session_id)["is_success"]
    assert predictor.close_session(session_id)["is_success"]
    predictor.shutdown()
    predictor.shutdown()


def test_the_predictors_class() -> None:
    from sam3.model.sam3_video_predictor import Sam3VideoPredictor, Sam3VideoPredictorMultiGPU
    from sam3.model_builder import build_sam3_video_predictor

    predictor = Sam3VideoPredictor(checkpoint_path="tiny", bpe_path="vocabulary.gz")
    assert predictor.model.device == build_sam3_video_predictor().model.device
    assert Sam3VideoPredictorMultiGPU is Sam3VideoPredictor
    predictor.shutdown()


def test_the_sam2_notebook(clip: Path, pyplot: Any) -> None:
    from sam3.model_builder import build_sam3_video_model
    from sam3.visualization_utils import show_box, show_mask, show_points

    model = build_sam3_video_model()
    predictor = model.tracker
    predictor.backbone = model.detector.backbone
    state = predictor.init_state(video_path=str(clip))
    assert (state["num_frames"], state["video_height"]) == (NUM_FRAMES, HEIGHT)
    predictor.clear_all_points_in_video(state)

    points, labels = np.array([[90, 80]], np.float32), np.array([1], np.int32)
    frame, ids, low, full = predictor.add_new_points(
        inference_state=state,
        frame_idx=0,
        obj_id=1,
        points=torch.tensor(points / [WIDTH, HEIGHT], dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int32),
        clear_old_points=False,
    )
    assert (frame, ids) == (0, [1])
    assert low.ndim == full.ndim == 4
    assert full.shape == (1, 1, HEIGHT, WIDTH)
    assert scene.iou((full[0] > 0.0).cpu().numpy()[0], scene.red_circle(0)) > 0.7
    axis = pyplot.figure().gca()
    axis.imshow(scene.image(0))
    show_points(points, labels, axis)
    show_mask((full[0] > 0.0).cpu().numpy(), axis, obj_id=ids[0])

    def follow(**fields: Any) -> dict[int, dict[int, Any]]:
        segments = {}
        for index, found, _, masks, scores in predictor.propagate_in_video(
            state, start_frame_idx=0, reverse=False, propagate_preflight=True, **fields
        ):
            assert scores.shape == (len(found), 1)
            segments[index] = {
                one: (masks[row] > 0.0).cpu().numpy() for row, one in enumerate(found)
            }
        return segments

    segments = follow(max_frame_num_to_track=240)
    assert sorted(segments) == list(range(NUM_FRAMES))
    assert scene.iou(segments[5][1][0], scene.red_circle(5)) > 0.6
    _, ids, _, full = predictor.add_new_points(
        inference_state=state,
        frame_idx=3,
        obj_id=1,
        points=[[0.7, 0.7]],
        labels=torch.tensor([0], dtype=torch.int32),
        clear_old_points=False,
    )
    assert ids == [1]

    predictor.clear_all_points_in_video(state)
    assert state["obj_ids"] == []
    box = np.array([[52, 42, 128, 118]], np.float32)
    for more in ({}, {"points": torch.tensor([[0.3, 0.35]]), "labels": torch.tensor([1])}):
        _, ids, _, full = predictor.add_new_points_or_box(
            inference_state=state,
            frame_idx=0,
            obj_id=4,
            box=(box / [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32),
            **more,
        )
        assert scene.iou((full[0][0] > 0.0).cpu().numpy(), scene.red_circle(0)) > 0.7
    show_box(box[0], axis)
    _, ids, _, full = predictor.add_new_mask(state, 0, 3, torch.from_numpy(scene.blue_square(0)))
    assert ids == [4, 3]
    assert full.shape == (2, 1, HEIGHT, WIDTH)
    segments = follow(max_frame_num_to_track=2)
    assert sorted(segments) == [0, 1, 2]
    for obj_id, truth in ((4, scene.red_circle(2)), (3, scene.blue_square(2))):
        assert scene.iou(segments[2][obj_id][0], truth) > 0.6
    assert predictor.remove_object(state, 4) == ([3], [])
    back = predictor.propagate_in_video(state, 2, 1, reverse=True)
    assert [index for index, *_ in back] == [2, 1]


def test_calls_of_sam2_that_cannot_be_answered(clip: Path) -> None:
    from sam3.model_builder import build_sam3_video_model

    from maskstream.core.errors import PromptError

    tracker = build_sam3_video_model().tracker
    state = tracker.init_state(clip)
    with pytest.raises(PromptError, match="no object to follow"):
        next(tracker.propagate_in_video(state))
    with pytest.raises(PromptError, match="nothing to prompt"):
        tracker.add_new_points_or_box(state, 0, 1)
    with pytest.raises(PromptError, match="rows of 2 numbers"):
        tracker.add_new_points(state, 0, 1, points=[[1, 2, 3]], labels=[1])
    with pytest.raises(PromptError, match="no object 7"):
        tracker.remove_object(state, 7, strict=True)
    with pytest.raises(PromptError, match="init_state"):
        tracker.clear_all_points_in_video({})
