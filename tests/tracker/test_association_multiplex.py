"""SAM 3.1's rules of association against what the original says of the same small pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.errors import ConfigError
from maskstream.core.masks import mask_iom, mask_nms
from maskstream.core.types import Detections
from maskstream.tracker.association import NO_DETECTION, Association, within_limit
from maskstream.tracker.association_multiplex import near_border
from maskstream.tracker.frame_plan import associate_seen, observe, plan_frame
from maskstream.tracker.lifecycle import Masklet, advance, start_masklet
from maskstream.tracker.network.multiplex.slots import state_for
from maskstream.tracker.overlap import mixed, suppress_by_recent_occlusion, suppress_shrunk
from maskstream.tracker.video_config import VideoConfig

CASES = json.loads((Path(__file__).parent / "data" / "sam31_association_cases.json").read_text())[
    "cases"
]
RULES = VideoConfig(
    association_rules="sam3.1", new_det_thresh=0.65, high_iou_thresh=0.5, border_margin=0.025
)


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(case, id=case["note"][:40]) for case in CASES if case["kind"] == kind]


def masks_of(pictures: list[list[str]], like: list[list[str]] | None = None) -> Tensor:
    if not pictures:
        rows = (like or [["." * 16] * 12])[0]
        return torch.zeros(0, len(rows), len(rows[0]))
    return torch.tensor([[[2.0 * (c == "#") - 1 for c in row] for row in p] for p in pictures])


@pytest.mark.parametrize(
    "case", [case for case in of_kind("associate") if not case.values[0]["input"]["image_only"]]
)
def test_association(case: Any) -> None:
    given, wanted = case["input"], case["output"]
    ids, kept = given["track_ids"], given["det_keep"]
    found = masks_of(given["det_masks"], given["track_masks"])
    tracks = masks_of(given["track_masks"], given["det_masks"])
    # What is not kept lies near the border here, everything else in the middle.
    boxes = [[0.4, 0.4, 0.6, 0.6] if keep else [0.0, 0.0, 0.01, 0.01] for keep in kept]
    detections = Detections(
        prompt_ids=torch.zeros(len(kept), dtype=torch.int64),
        scores=torch.tensor(given["det_scores"], dtype=torch.float32),
        boxes=torch.tensor(boxes).reshape(-1, 4),
        masks=found,
    )
    seen = observe(tracks, torch.full((len(ids),), 3.0), detections, "iom")
    said = associate_seen(seen, [0] * len(ids), bool(ids), RULES)
    assert said.new_detections.tolist() == wanted["new_detections"]
    if kept:
        unmatched = [ids[row] for row in np.flatnonzero(said.is_unmatched)]
        assert unmatched == wanted["unmatched_track_ids"]
    assert [ids[row] for row in np.flatnonzero(said.is_empty)] == wanted["empty_track_ids"]
    for detection, matched in wanted["detection_to_matched_track_ids"].items():
        assert [ids[r] for r in np.flatnonzero(said.matches[int(detection)])] == matched
    confirming = {
        str(ids[row]): int(detection)
        for row, detection in enumerate(said.confirming)
        if detection != NO_DETECTION
    }
    assert confirming == wanted["track_id_to_recondition_detection"]


def of_rects(rects: list[list[int]], size: list[int]) -> Tensor:
    masks = torch.full((len(rects), *size), -1.0)
    for mask, (x0, y0, x1, y1) in zip(masks, rects, strict=True):
        mask[y0:y1, x0:x1] = 1.0
    return masks


@pytest.mark.parametrize("case", of_kind("planning_sequence"))
def test_planning(case: Any) -> None:
    """Frame after frame: who is matched, unmatched, new, withdrawn, emptied, reconditioned."""
    given = case["input"]
    config = replace(
        RULES,
        max_num_objects=given["max_objects"],
        recondition_every_nth_frame=given["recondition_every"],
    )
    masklets: list[Masklet] = []
    for step, wanted in zip(given["frames"], case["output"]["frames"], strict=True):
        index, found = step["frame"], step["detections"]
        ids = [masklet.obj_id for masklet in masklets]
        assert ids == wanted["ids_before"]
        boxes = [[0.4, 0.4, 0.6, 0.6] if d["keep"] else [0.0, 0.0, 0.01, 0.01] for d in found]
        detections = Detections(
            prompt_ids=torch.zeros(len(found), dtype=torch.int64),
            scores=torch.tensor([d["score"] for d in found], dtype=torch.float32),
            boxes=torch.tensor(boxes).reshape(-1, 4),
            masks=of_rects([d["rect"] for d in found], given["grid_h_w"]),
        )
        tracks = of_rects([step["track_rects"][str(i)] for i in ids], given["grid_h_w"])
        logits = torch.full((len(ids),), given["tracker_score_logit_of_every_track"])
        seen = observe(tracks, logits, detections, config.overlap)
        plan = plan_frame(masklets, seen, np.zeros(len(ids), np.bool_), index, False, config)
        said = plan.association
        assert said.new_detections.tolist() == wanted["new_detections"]
        assert [ids[row] for row in np.flatnonzero(said.is_unmatched)] == wanted["unmatched"]
        for detection, matched in wanted["matched"].items():
            assert [ids[r] for r in np.flatnonzero(said.matches[int(detection)])] == matched
        assert plan.ids(plan.removed) == wanted["removed"]
        assert said.num_dropped == wanted["dropped"]
        assert plan.ids(plan.suppressed) == wanted["emptied_by_recent_occlusion"]
        pairs = {
            str(ids[row]): int(said.confirming[row]) for row in np.flatnonzero(plan.reconditioned)
        }
        assert pairs == wanted["recondition_pairs_offered"]
        kept = [m for m, gone in zip(plan.masklets, plan.removed, strict=True) if not gone]
        masklets = kept + [
            start_masklet(
                obj_id=obj_id,
                prompt_id=0,
                frame_index=index,
                score=0.9,
                box=[0, 0, 1, 1],
                config=config,
            )
            for obj_id in wanted["new_ids"]
        ]
        last = [-1 if m.last_occluded is None else m.last_occluded for m in masklets]
        assert last == wanted["last_occluded"]
        assert [m.num_unmatched for m in masklets] == wanted["unmatched_total"]


def of_counts(given: Any) -> list[Masklet]:
    """Records with the counts of a case; who has outlived hot start is confirmed."""
    first, pairs = given["first_frame"], given["pair_counts_upper_triangle"]
    records = []
    for row, began in enumerate(first):
        older = [other for other in range(row) if first[other] < began]
        record = start_masklet(
            obj_id=row, prompt_id=0, frame_index=began, score=0.9, box=[0, 0, 1, 1], config=RULES
        )
        records.append(
            replace(
                record,
                num_unmatched=given["unmatched_total"][row],
                confirmed=given["frame"] - began >= RULES.hotstart_delay,
                duplicates={other: pairs[other][row] for other in older},
            )
        )
    return records


@pytest.mark.parametrize(
    "case",
    # In the last case rows are not in the order in which they began, which cannot be here.
    [case for case in of_kind("hot_start_step") if case.values[0]["n"] < 18],
)
def test_hot_start(case: Any) -> None:
    given, wanted = case["input"], case["output"]
    matches = np.array(given["match_table"], dtype=np.bool_)
    count = matches.shape[1]
    none = np.full(count, NO_DETECTION, dtype=np.int64)
    association = Association(
        matches=matches,
        is_unmatched=np.array(given["unmatched_now"]),
        is_empty=np.zeros(count, dtype=np.bool_),
        sighted=none,
        scores=np.full(count, np.nan, dtype=np.float32),
        confirming=none,
        resumed=none,
        new_detections=np.zeros(0, dtype=np.int64),
    )
    said = advance(of_counts(given), association, given["frame"], given["reverse"], RULES)
    assert said.removed.tolist() == wanted["remove"]
    assert [m.num_unmatched for m in said.masklets] == wanted["unmatched_total"]


@pytest.mark.parametrize("case", of_kind("border"))
def test_detections_near_the_border(case: Any) -> None:
    boxes = np.array(case["input"]["boxes_xyxy"], dtype=np.float32)
    assert (~near_border(boxes, 0.025)).tolist() == case["output"]["keep"]
    assert not near_border(boxes, 0.0).any()


@pytest.mark.parametrize("case", of_kind("nms"))
def test_suppression_of_detections(case: Any) -> None:
    given = case["input"]
    masks, scores = masks_of(given["masks"]) > 0, torch.tensor(given["scores"])
    passed = scores > given["score_threshold"]
    keep = passed.clone()
    keep[passed] = mask_nms(masks[passed], scores[passed], given["iom_threshold"], overlap=mask_iom)
    assert keep.tolist() == case["output"]["keep"]


@pytest.mark.parametrize("case", of_kind("recent_occlusion"))
def test_recent_occlusion(case: Any) -> None:
    given = case["input"]
    iou = np.array(case["output"]["iou"], dtype=np.float32)
    last = [None if frame < 0 else frame for frame in given["last_occluded"]]
    removed = np.array(given["being_removed"])
    emptied = suppress_by_recent_occlusion(
        iou, [0] * len(last), last, removed, given["reverse"], given["iou_threshold"]
    )
    assert emptied.tolist() == case["output"]["emptied"]


@pytest.mark.parametrize("case", of_kind("shrink"))
def test_masks_that_lose_too_much(case: Any) -> None:
    logits = torch.tensor(case["input"]["logits"], dtype=torch.float32)
    kept = suppress_shrunk(logits, [0] * len(logits))
    assert torch.equal(kept, torch.tensor(case["output"]["logits"]))


@pytest.mark.parametrize("case", of_kind("placement"))
def test_placement(case: Any) -> None:
    given, wanted = case["input"], case["output"]["state"]
    place = state_for(given["free_slots_of_states"], given["new_objects"])
    assert place == (None if wanted == "new state" else wanted)


@pytest.mark.parametrize(
    "case", [case for case in of_kind("object_limit") if not case.values[0]["input"]["image_only"]]
)
def test_limit_of_objects(case: Any) -> None:
    given, wanted = case["input"], case["output"]
    scores = np.array(given["scores"], dtype=np.float32)
    nobody = masks_of([])
    detections = Detections.empty(tuple(nobody.shape[1:]))
    said = associate_seen(observe(nobody, torch.zeros(0), detections), [], False, RULES)
    said = replace(said, new_detections=np.array(given["new_detections"]))
    said = within_limit(said, scores, given["max_objects"] - given["objects_before"])
    assert said.new_detections.tolist() == wanted["kept_detections_in_id_order"]
    assert said.num_dropped == wanted["dropped"]


def test_a_detection_corrects_what_differs() -> None:
    masks, found = torch.tensor([[[3.0, -2.0, 0.5]]]), torch.tensor([[[1.0, 4.0, -1.0]]])
    assert mixed(masks, found).tolist() == [[[3.0, 4.0, -1.0]]]


def test_rules_have_names() -> None:
    assert (VideoConfig().overlap, RULES.overlap) == ("iou", "iom")
    with pytest.raises(ConfigError, match=r"'sam3' or 'sam3.1'"):
        VideoConfig(association_rules="sam2")
