"""The bundled clip, segmented by the embedded checkpoint, against the clip's own truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskstream import VideoSegmenter, open_source
from maskstream.core.rle import decode_mask
from maskstream.pipeline.api.results import FrameResult

ASSETS = Path(str(resources.files("maskstream.pipeline") / "assets"))
PRESENT = {"dog face": {0, 3}, "足球": {5}, "blue star": {4}}
"""Prompts and the objects of the truth that they mean; one of them in Chinese."""
ABSENT = "airplane"
# An object in full view covers some 8,000 cells of the truth's grid; what shows less than a quarter
# of that, at the edge of a bar or of the picture, is not judged.
MIN_AREA = 2000

# The present checkpoint reaches 0.84, 0.77, 0.84 and 0.68, each under one identity in more than
# four fifths of the frames and in the rest not at all; these leave room for other processors, whose
# sums round otherwise.
MIN_IOU = {0: 0.75, 3: 0.70, 4: 0.75, 5: 0.60}
MIN_SHARE_OF_MAIN_ID = 0.7
MAX_SHARE_WRONG = 0.06

pytestmark = pytest.mark.timeout(900)


@dataclass
class Followed:
    """How one object of the truth was found, over the frames that show enough of it."""

    ious: list[float] = field(default_factory=list)
    ids: Counter[int] = field(default_factory=Counter)

    @property
    def share_of_main_id(self) -> float:
        return max(self.ids.values(), default=0) / len(self.ious)


@dataclass
class Outcome:
    """What the run gave.

    Attributes:
        objects: by the truth's number.
        labels: how often each label was given, over all frames.
        num_frames: results.
        num_wrong: results on the truth's frames that lie on no object of their concept.
        num_checked: results on the truth's frames.
    """

    objects: dict[int, Followed] = field(default_factory=lambda: defaultdict(Followed))
    labels: Counter[str] = field(default_factory=Counter)
    num_frames: int = 0
    num_wrong: int = 0
    num_checked: int = 0


def masks_of(entry: Mapping[str, Any], size: list[int]) -> dict[int, NDArray[np.bool_]]:
    return {
        item["obj_id"]: decode_mask({"size": size, "counts": item["counts"]})
        for item in entry["objects"]
    }


def compare(outcome: Outcome, result: FrameResult, truth: dict[int, NDArray[np.bool_]]) -> None:
    small = result.masks[:, ::2, ::2]
    right: set[int] = set()
    for label, objects in PRESENT.items():
        rows = [row for row, given in enumerate(result.labels) if given == label]
        for number in objects & set(truth):
            mask = truth[number]
            ious = [(small[r] & mask).sum() / (small[r] | mask).sum() for r in rows]
            best = int(np.argmax(ious)) if ious else -1
            if best >= 0 and ious[best] > 0.3:
                right.add(rows[best])
            if mask.sum() >= MIN_AREA:
                followed = outcome.objects[number]
                followed.ious.append(float(ious[best]) if best >= 0 else 0.0)
                if best >= 0 and ious[best] > 0.3:
                    followed.ids[int(result.obj_ids[rows[best]])] += 1
    outcome.num_checked += len(result)
    outcome.num_wrong += len(result) - len(right)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    told = json.loads((ASSETS / "demo_truth.json").read_text(encoding="utf-8"))
    truth = {entry["frame_index"]: entry for entry in told["frames"]}
    segmenter = VideoSegmenter.from_checkpoint("tiny", device="cpu")
    for text in (*PRESENT, ABSENT):
        segmenter.add_concept(text)
    seen = Outcome()
    with open_source(ASSETS / "demo.mp4") as source:
        for result in segmenter.run(source):
            seen.num_frames += 1
            seen.labels.update(result.labels)
            if result.frame_index in truth:
                compare(seen, result, masks_of(truth[result.frame_index], told["size"]))
    assert seen.num_frames == told["num_frames"]
    return seen


def test_what_is_not_there_is_not_found(outcome: Outcome) -> None:
    assert outcome.labels[ABSENT] == 0


def test_every_object_that_was_asked_for_is_found(outcome: Outcome) -> None:
    assert set(outcome.objects) == set().union(*PRESENT.values())


@pytest.mark.parametrize("number", sorted(set().union(*PRESENT.values())))
def test_masks_lie_on_their_objects(outcome: Outcome, number: int) -> None:
    assert np.mean(outcome.objects[number].ious) >= MIN_IOU[number]


@pytest.mark.parametrize("number", sorted(set().union(*PRESENT.values())))
def test_identities_last(outcome: Outcome, number: int) -> None:
    assert outcome.objects[number].share_of_main_id >= MIN_SHARE_OF_MAIN_ID


def test_nothing_else_is_taken_for_them(outcome: Outcome) -> None:
    assert outcome.num_wrong <= MAX_SHARE_WRONG * outcome.num_checked


def test_the_two_dogs_are_told_apart(outcome: Outcome) -> None:
    first, second = (outcome.objects[number].ids.most_common(1)[0][0] for number in (0, 3))
    assert first != second
