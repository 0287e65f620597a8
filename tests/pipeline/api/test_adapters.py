"""Results in other tools, with the tools themselves."""

from __future__ import annotations

import json

import numpy as np
import supervision as sv
from label_studio_converter.brush import decode_from_annotation

from maskstream.pipeline.api.results import FrameResult

HEIGHT, WIDTH = 6, 8


def result() -> FrameResult:
    masks = np.zeros((3, HEIGHT, WIDTH), np.bool_)
    masks[0, 1:4, 2:6] = True
    masks[1, 4:, :3] = True
    masks[2, 0, 7] = True
    return FrameResult(
        frame_index=4,
        pts_s=0.5,
        obj_ids=np.array([3, 0, 41], np.int64),
        prompt_ids=np.array([0, 1, -1], np.int64),
        labels=["red circle", "足球", "object"],
        scores=np.array([0.9, np.nan, np.nan], np.float32),
        tracker_scores=np.array([0.8, 0.7, 0.6], np.float32),
        boxes_xywh=np.array(
            [
                [2 / WIDTH, 1 / HEIGHT, 4 / WIDTH, 3 / HEIGHT],
                [0, 4 / HEIGHT, 3 / WIDTH, 2 / HEIGHT],
                [7 / WIDTH, 0, 1 / WIDTH, 1 / HEIGHT],
            ],
            np.float32,
        ),
        masks=masks,
        states=["confirmed", "provisional", "confirmed"],
        first_frames=np.array([0, 4, 4], np.int64),
    )


def test_supervision() -> None:
    found = result().to_supervision()
    assert isinstance(found, sv.Detections)
    assert len(found) == 3
    np.testing.assert_allclose(found.xyxy, [[2, 1, 6, 4], [0, 4, 3, 6], [7, 0, 8, 1]], atol=1e-5)
    np.testing.assert_allclose(sv.mask_to_xyxy(found.mask), found.xyxy - [0, 0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(found.confidence, [0.9, 0.7, 0.6])
    assert found.tracker_id.tolist() == [3, 0, 41]
    assert found.class_id.tolist() == [1, 2, 0]
    assert found["class_name"].tolist() == ["red circle", "足球", "object"]
    circles = found[found["class_name"] == "red circle"]
    assert circles.tracker_id.tolist() == [3]
    assert circles.area.tolist() == [12]
    assert found.metadata == {"frame_index": 4, "pts_s": 0.5}
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for annotator in (sv.MaskAnnotator(), sv.BoxAnnotator()):
        assert annotator.annotate(picture.copy(), found).any()
    assert len(FrameResult.empty(0, None, (HEIGHT, WIDTH)).to_supervision()) == 0


def test_label_studio() -> None:
    frame = result()
    entries = json.loads(json.dumps(frame.to_label_studio(from_name="brush", to_name="frame")))
    assert [entry["value"]["brushlabels"] for entry in entries] == [
        ["red circle"],
        ["足球"],
        ["object"],
    ]
    assert {(entry["from_name"], entry["to_name"]) for entry in entries} == {("brush", "frame")}
    assert [round(entry["score"], 4) for entry in entries] == [0.9, 0.7, 0.6]
    assert len({entry["id"] for entry in entries}) == 3
    # The converter takes the fields of ``value`` beside the others, as in Label Studio's exports.
    flat = [entry | entry["value"] for entry in entries]
    layers = decode_from_annotation("brush", flat)
    assert list(layers) == ["brush-red circle-0", "brush-足球-0", "brush-object-0"]
    for layer, mask in zip(layers.values(), frame.masks, strict=True):
        assert np.array_equal(layer > 0, mask)
