"""Frame results: the client's fields, and a round trip through JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from maskstream.core.errors import InputError
from maskstream.pipeline.api.results import FrameResult
from tests.pipeline.frame_results import make_result


def test_outputs_hold_the_clients_fields() -> None:
    outputs = make_result(3, [4, 7]).to_outputs()
    assert outputs["out_obj_ids"].tolist() == [4, 7]
    assert outputs["out_obj_ids"].dtype == np.int64
    assert outputs["out_probs"].dtype == np.float32
    assert outputs["out_boxes_xywh"].shape == (2, 4)
    assert outputs["out_binary_masks"].shape == (2, 48, 80)
    assert outputs["out_binary_masks"].dtype == np.bool_
    assert outputs["frame_stats"] == {"num_objects": 2}
    assert outputs["out_labels"] == ["red circle", "red circle"]
    assert outputs["out_states"] == ["confirmed", "confirmed"]
    assert outputs["out_prompt_ids"].tolist() == [0, 0]
    assert outputs["out_tracker_probs"] == pytest.approx([0.8, 0.8])
    assert outputs["out_first_frames"].tolist() == [0, 0]
    assert (outputs["out_confirmed_obj_ids"], outputs["out_withdrawn_obj_ids"]) == ([], [])


@pytest.mark.parametrize("obj_ids", [[], [5], [1, 2, 3]])
def test_records_survive_json(obj_ids: list[int]) -> None:
    result = make_result(9, obj_ids, pts_s=0.3)
    result = dataclasses.replace(result, confirmed_ids=obj_ids[:1], withdrawn_ids=[40, 41])
    back = FrameResult.from_record(json.loads(json.dumps(result.to_record())))
    for field in dataclasses.fields(FrameResult):
        before, after = getattr(result, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray) and before.dtype == np.float32:
            assert after == pytest.approx(before, abs=1e-6)
        else:
            assert np.array_equal(before, after)
        assert type(after) is type(before)


def test_an_empty_frame_keeps_its_size() -> None:
    empty = FrameResult.empty(2, None, (30, 40), {"decode_ms": np.float32(1.5), "bad": np.nan})
    record = empty.to_record()
    assert (record["height"], record["width"], record["objects"]) == (30, 40, [])
    assert json.loads(json.dumps(record, allow_nan=False))["frame_stats"] == {
        "decode_ms": 1.5,
        "bad": None,
    }
    assert FrameResult.from_record(record).frame_size == (30, 40)


def test_a_missing_score_is_null() -> None:
    result = make_result(0, [1])
    result.tracker_scores[0] = np.nan
    assert result.to_record()["objects"][0]["tracker_score"] is None
    assert np.isnan(FrameResult.from_record(result.to_record()).tracker_scores[0])


def test_fields_that_do_not_belong_together() -> None:
    with pytest.raises(InputError, match="labels has 1 entries for 2 objects"):
        dataclasses.replace(make_result(0, [1, 2]), labels=["one"])
    with pytest.raises(InputError, match=r"masks have shape \(N, H, W\)"):
        dataclasses.replace(make_result(0, [1]), masks=np.zeros((1, 4), np.bool_))


@pytest.mark.parametrize(
    "record", [{}, {"objects": 3}, {**make_result(0).to_record(), "objects": [{"obj_id": 1}]}]
)
def test_records_that_are_none(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a frame record"):
        FrameResult.from_record(record)
