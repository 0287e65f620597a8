"""Whole scenes on SAM 3.1's memories against what the original computes.

Three objects with a join, a reconditioning and a removal; seventeen at once; clicks and boxes;
played backwards; objects of two states; absent objects; conditioning frames ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.tracker.network.memory_index import MemoryIndex
from maskstream.tracker.network.multiplex.bucket_frame import BucketFrame
from maskstream.tracker.network.multiplex.given_masks import _kept
from maskstream.tracker.network.multiplex.memories import MultiplexMemories
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.multiplex.recall import recall
from maskstream.tracker.network.protocol import FoundMasks, FrameChanges, MaskletPrediction
from maskstream.tracker.object_prompt import object_prompt
from maskstream.tracker.overlap import mixed
from maskstream.tracker.video_config import VideoConfig
from tests.tracker.network.multiplex.reference import (
    GRID,
    array,
    close,
    config,
    facts,
    frame_at,
    named_model,
    stats,
)

NOTHING = FoundMasks([], torch.zeros(0, 4 * GRID, 4 * GRID))


def sampled(maps: Tensor) -> Tensor:
    """(B, L, C) as the record samples them."""
    return maps.transpose(1, 2).unflatten(2, (GRID, GRID))[:, ::7, ::3, ::3]


def detected(name: str) -> Tensor:
    return (array(name).float() + 65 / 128) / 8


class Scene:
    """A scene of the record, driven frame by frame."""

    def __init__(self, name: str, *, plain: bool = False, model: MultiplexModel | None = None):
        self.name, self.facts = name, facts()[name]
        self.model = named_model() if model is None else model
        self.memories = MultiplexMemories(
            self.model, VideoConfig(), self.facts["num_frames"], torch.float32
        )
        self.coefficients = "coef_S3" if name == "S3" else "coef"
        self.prompt = -1 if plain else 0
        self.ids: list[int] = []
        self.reverse = False

    def look(self, index: int) -> BucketFrame:
        time = index + self.facts["feature_time_offset"]
        frame = frame_at(time, self.coefficients)
        return BucketFrame(self.memories, frame, index, self.reverse, tuple(self.facts["video"]))

    def step(self, index: int, events: Sequence[dict[str, Any]], at: str) -> None:
        """One frame: follow, recondition, remember, add, remove; each compared."""
        view, ids = self.look(index), list(self.ids)
        conditioned: list[Tensor] = []
        handle = self.model.memory_attention.register_forward_hook(
            lambda *call: conditioned.extend(call[-1])
        )
        said = view.predict(range(len(ids)))
        handle.remove()
        new: list[int] = next((event["add"] for event in events if "add" in event), [])
        masks, reconditioned = said.low_res_masks, NOTHING
        if ids:
            self.compare_prediction(said, at)
            self.compare_attention(conditioned, at)
        for event in events:
            if "recondition" in event:
                rows = [ids.index(obj_id) for obj_id in event["recondition"]]
                reconditioned = FoundMasks(rows, detected(f"{at}/recondition_masks"))
                masks = masks.clone()
                masks[rows] = mixed(masks[rows], reconditioned.logits)
                by_id = np.argsort(ids)
                close(masks[by_id][:, ::2, ::2], f"{at}/low_res_after_recondition")
        if ids and self.prompt >= 0:
            ratio = _kept(masks, range(len(ids)), (16 * GRID, 16 * GRID))
            order = np.argsort(ids)
            wanted = array(f"{at}/shrink_ratio")
            assert len(ids) == 1 or (ratio[order] - wanted).abs().max() <= 2e-4
        view.remember(
            FrameChanges(
                prediction=said,
                masks=masks,
                prompt_ids=[self.prompt] * len(ids),
                to_remember=list(range(len(ids))),
                given=[],
                reconditioned=reconditioned,
                resumed=NOTHING,
                started=detected(f"{at}/new_masks_{new[0]}") if new else NOTHING.logits,
                # Those of one call take pixels from each other, whatever follows.
                started_prompts=[0] * len(new),
            )
        ).write()
        self.ids += new
        for event in events:
            if "remove" in event:
                self.remove(event["remove"])

    def remove(self, obj_ids: Sequence[int]) -> None:
        self.memories.remove([self.ids.index(obj_id) for obj_id in obj_ids])
        self.ids = [obj_id for obj_id in self.ids if obj_id not in obj_ids]

    def compare_prediction(self, said: MaskletPrediction, at: str) -> None:
        order = np.argsort(self.ids).tolist()
        assert [self.ids[row] for row in order] == array(f"{at}/ids").tolist()
        wanted = array(f"{at}/low_res")
        step = 1 if wanted.shape[-1] == 4 * GRID else 2
        close(said.low_res_masks[order][:, ::step, ::step], f"{at}/low_res")
        close(said.object_score_logits[order], f"{at}/score")
        for number, state in enumerate(self.memories.states.states):
            best = array(f"{at}/st{number}/iou").max(1).values
            assert (said.iou_scores[list(state.rows)] - best).abs().max() <= 1e-4

    def compare_attention(self, conditioned: Sequence[Tensor], at: str) -> None:
        states, done = self.memories.states, 0
        for number, state in enumerate(states.states):
            wanted = len(state.table.buckets)
            groups: list[Tensor] = []
            while sum(map(len, groups)) < wanted:
                groups.append(conditioned[done])
                done += 1
            close(sampled(torch.cat(groups)), f"{at}/st{number}/memcond")

    def compare_memory(self, index: int, at: str, wanted: Sequence[dict[str, Any]]) -> None:
        """The states and what they keep of the frame."""
        states, bank = self.memories.states, self.memories.bank
        assert len(states.states) == len(wanted)
        for number, (state, known) in enumerate(zip(states.states, wanted, strict=True)):
            assert [self.ids[row] for row in state.rows] == known["obj_ids"]
            assert [list(bucket) for bucket in state.table.buckets] == known["slots"]
            assert state.table.num_free == known["free"]
            buckets = states.buckets(number)
            cond = bank._index.tables["cond_frames"][buckets[0]].tolist()
            assert sorted(f for f in cond if f >= 0) == known["cond_frames"]
            if index in cond:
                map_slot = pointer_slot = cond.index(index)
            else:
                map_slot, pointer_slot = bank._index.slots_of(buckets[0], index)
            maps = bank.maps_of(buckets, [map_slot])[:, 0]
            close(bank.pointers_of(buckets, [pointer_slot])[:, 0], f"{at}/st{number}/ptr")
            close(stats(maps), f"{at}/st{number}/maskmem_stats")
            close(sampled(maps), f"{at}/st{number}/maskmem")

    def run(self, frames: dict[str, Any]) -> None:
        last = None
        for key, known in frames.items():
            index, at = int(key), f"{self.name}/f{int(key):02d}"
            self.reverse = last is not None and index < last
            last = index
            self.step(index, known["events"], at)
            self.compare_memory(index, at, known["states"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["S1", "S2", "S4", "S4b", "S5"])
def test_found_objects(name: str) -> None:
    scene = Scene(name)
    scene.run(scene.facts["frames"])


@torch.no_grad()
def test_buckets_of_a_state_as_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(BucketFrame, "_parts", lambda self, count: [slice(0, count)])
    scene = Scene("S2")
    scene.run(dict(list(scene.facts["frames"].items())[:3]))


@torch.no_grad()
def test_objects_that_are_not_there() -> None:
    model = deepcopy(named_model())
    biases = facts()["S6"]["score_head_bias"]
    model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(biases["sam_mask_decoder"])
    model.interactive_mask_decoder.pred_obj_score_head.proj_out.bias.fill_(
        biases["interactive_sam_mask_decoder"]
    )
    scene = Scene("S6", plain=True, model=model)
    scene.run(scene.facts["frames"])


def click(scene: Scene, index: int, row: int | None, prompt: dict[str, Any], at: str) -> None:
    """Draw as the record says, compare the answer, and keep it."""
    points = torch.tensor(prompt["points_relative"])
    labels = torch.tensor(prompt["labels"])
    box = points.flatten() if 2 in prompt["labels"] else None
    drawn = object_prompt(points, labels) if box is None else object_prompt(box=box)
    answer = scene.look(index).draw(drawn, row, previous=lambda: None, is_first=row is None)
    said = answer.prediction
    step = 4 * GRID // array(f"{at}/low_res").shape[-1]
    close(said.low_res_masks[:, None, ::step, ::step], f"{at}/low_res")
    close(said.object_score_logits[:, None], f"{at}/score")
    close(said.object_pointers, f"{at}/ptr")
    answer.memory.write()
    bank = scene.memories.bank
    bucket = scene.memories.states.buckets(scene.memories.states.of_row(row or 0))[0]
    slot = bank._index.tables["cond_frames"][bucket].tolist().index(index)
    # An object that is taken out keeps its slot here, and gets the first one in the original.
    if at not in ("S3/box", "S7/click"):
        close(sampled(bank.maps_of([bucket], [slot])[:, 0]), f"{at}/maskmem")


@torch.no_grad()
def test_clicks_and_boxes() -> None:
    scene = Scene("S3", plain=True)
    first, second, box = scene.facts["prompts"]
    click(scene, 0, None, first, "S3/click1")
    scene.ids = [1]
    both = {
        "points_relative": first["points_relative"] + second["points_relative"],
        "labels": first["labels"] + second["labels"],
    }
    click(scene, 0, 0, both, "S3/click2")
    click(scene, 0, None, box, "S3/box")
    scene.ids = [1, 2]
    slot = 0
    close(sampled(scene.memories.bank.maps_of([1], [slot])[:, 0]), "S3/box/maskmem")
    scene.run(scene.facts["frames"])


@torch.no_grad()
def test_conditioning_frames_ahead() -> None:
    scene = Scene("S8", plain=True)
    for number, prompt in enumerate(scene.facts["prompts"], start=1):
        row = 0 if scene.ids else None
        click(scene, prompt["frame"], row, prompt, f"S8/click{number}")
        scene.ids = [1]
    scene.run(scene.facts["frames"])


@torch.no_grad()
def test_a_click_on_one_of_many_takes_it_out_with_what_is_remembered_of_it() -> None:
    """The original loses the object's maps here; what is left alone is as there."""
    scene = Scene("S7")
    scene.run(scene.facts["frames"])
    known = scene.facts["click"]
    row = scene.ids.index(known["object"])
    click(scene, known["frame"], row, known, "S7/click")
    after = known["states_after"]
    states = scene.memories.states
    assert [[scene.ids[row] for row in s.rows] for s in states.states] == [
        state["obj_ids"] for state in after
    ]
    assert [list(b) for b in states.states[0].table.buckets] == after[0]["slots"]
    bank = scene.memories.bank
    cond = bank._index.tables["cond_frames"]
    assert sorted(frame for frame in cond[1].tolist() if frame >= 0) == after[1]["cond_frames"]
    frames = scene.memories.tokens([1], 6, False).frames
    assert sorted(frames) == [0, 1, 2, 3, 4, 5], "all its maps are still there"


@pytest.mark.parametrize("number", range(len(facts()["temporal_rows"])))
def test_frames_that_are_looked_back_at(number: int) -> None:
    case = facts()["temporal_rows"][number]
    frame, reverse = case["frame"], case["reverse"]
    index = MemoryIndex(8, 7, 16)
    index.append(1)
    row = np.array([0])
    for other in sorted(case["other"], key=lambda f: -abs(f - frame)):
        index.book(row, other, False)
    for cond in case["cond"]:
        index.book(row, cond, True)
    reach = max(2, min(16, case["num_frames"]))
    found = recall(index, 0, frame, reverse, reach, config())
    assert sorted(map(list, zip(found.frames, found.temporal, strict=True))) == sorted(
        case["memory_frame_row"]
    )
    tables = index.tables
    seen = []
    for slot, distance in zip(found.pointer_slots, found.distances, strict=True):
        name, place = ("cond_frames", slot) if slot < 8 else ("pointer_frames", slot - 8)
        seen.append([int(tables[name][0, place]), distance])
    assert sorted(seen) == sorted(case["pointer_frame_distance"])
    assert reach - 1 == case["divisor"]
