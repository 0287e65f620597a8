"""What a user may draw, what is refused, and how it reaches the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.errors import PromptError
from maskstream.tracker.network.object_memories import predict_clicked
from maskstream.tracker.object_prompt import (
    PREVIOUS_MASK_LIMIT,
    ObjectPrompt,
    object_prompt,
)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_points_of_any_kind(kind: Any) -> None:
    prompt = object_prompt(kind([[0.25, 0.5], [1.0, 0.0]]), kind([1, 0]))
    assert prompt.points.dtype == torch.float32
    assert prompt.points.tolist() == [[0.25, 0.5], [1.0, 0.0]]
    assert prompt.point_labels.dtype == torch.int64
    assert prompt.point_labels.tolist() == [1, 0]
    assert prompt.box is None
    assert prompt.mask is None


def test_labels_not_given_are_on_the_object() -> None:
    assert object_prompt([[0.1, 0.2], [0.3, 0.4]]).point_labels.tolist() == [1, 1]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_box_of_any_kind_alone_and_with_points(kind: Any) -> None:
    prompt = object_prompt(box=kind([0.0, 0.25, 0.5, 1.0]))
    assert prompt.box is not None
    assert prompt.box.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert prompt.points.shape == (0, 2)
    assert prompt.point_labels.shape == (0,)
    both = object_prompt([[0.1, 0.2]], [0], kind([0.0, 0.25, 0.5, 1.0]))
    assert both.box is not None
    assert len(both.points) == 1


@pytest.mark.parametrize(
    "mask",
    [
        torch.eye(3, dtype=torch.bool),
        np.eye(3),
        np.eye(3, dtype=np.uint8),
        torch.eye(3, dtype=torch.int32),
    ],
)
def test_mask_of_any_kind(mask: Any) -> None:
    prompt = object_prompt(mask=mask)
    assert prompt.mask is not None
    assert torch.equal(prompt.mask, torch.eye(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("drawn", "complaint"),
    [
        ({}, "nothing to prompt"),
        ({"point_labels": [1]}, "nothing to prompt"),
        ({"point_labels": [1], "box": [0, 0, 1, 1]}, "point_labels without points"),
        ({"points": []}, "points of shape"),
        ({"points": torch.zeros(0, 2)}, "points is empty"),
        ({"points": [0.5, 0.5]}, "points of shape"),
        ({"points": [[0.5, 0.5, 0.5]]}, "points of shape"),
        ({"points": [[0.5, 0.5], [0.5]]}, "points cannot be read"),
        ({"points": [["a", "b"]]}, "points cannot be read"),
        ({"points": [[0.5, 1.01]]}, "outside the frame"),
        ({"points": [[-0.01, 0.5]]}, "outside the frame"),
        ({"points": [[float("nan"), 0.5]]}, "outside the frame"),
        ({"points": [[float("inf"), 0.5]]}, "outside the frame"),
        ({"points": [[0.5, 0.5]], "point_labels": [1, 1]}, "1 points with labels"),
        ({"points": [[0.5, 0.5]], "point_labels": 1}, "1 points with labels"),
        ({"points": [[0.5, 0.5]], "point_labels": [2]}, "1 is on the object"),
        ({"points": [[0.5, 0.5]], "point_labels": [0.5]}, "1 is on the object"),
        ({"points": [[0.5, 0.5]], "point_labels": [-1]}, "1 is on the object"),
        ({"box": [0.1, 0.1, 0.5]}, "box of shape"),
        ({"box": [[0.1, 0.1, 0.5, 0.5]]}, "box of shape"),
        ({"box": [0.1, 0.1, 0.5, 1.5]}, "outside the frame"),
        ({"box": [0.1, 0.1, float("nan"), 0.5]}, "outside the frame"),
        ({"box": [0.5, 0.1, 0.5, 0.5]}, "is empty"),
        ({"box": [0.1, 0.6, 0.5, 0.5]}, "is empty"),
        ({"mask": np.ones(4)}, "mask of shape"),
        ({"mask": np.ones((1, 4, 4))}, "mask of shape"),
        ({"mask": np.ones((0, 4))}, "mask of shape"),
        ({"mask": np.full((4, 4), 255, np.uint8)}, "other values"),
        ({"mask": np.full((4, 4), np.nan)}, "other values"),
        ({"mask": np.zeros((4, 4), np.bool_)}, "mask is empty"),
        ({"mask": np.ones((4, 4), np.bool_)}, "mask covers the whole frame"),
        ({"mask": np.broadcast_to(np.False_, (10**5, 10**5))}, "mask of 10,000,000,000 pixels"),
        ({"mask": np.ones((4, 4)), "points": [[0.5, 0.5]]}, "cannot come with"),
        ({"mask": np.ones((4, 4)), "box": [0, 0, 1, 1]}, "cannot come with"),
    ],
)
def test_what_cannot_be_used_is_refused(drawn: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        object_prompt(**drawn)


EARLIER = (torch.tensor([[0.1, 0.1]]), torch.tensor([0]), torch.tensor([0.0, 0.0, 0.5, 0.5]))


def test_on_top_of_earlier_clicks() -> None:
    joined = object_prompt([[0.9, 0.9]]).after(*EARLIER)
    assert torch.equal(joined.points, torch.tensor([[0.1, 0.1], [0.9, 0.9]]))
    assert joined.point_labels.tolist() == [0, 1]
    assert joined.box is EARLIER[2]


def test_a_new_box_replaces_the_earlier_one_and_a_mask_everything() -> None:
    joined = object_prompt(box=[0.2, 0.2, 1.0, 1.0]).after(*EARLIER)
    assert joined.box is not None
    assert torch.equal(joined.box, torch.tensor([0.2, 0.2, 1.0, 1.0]))
    assert joined.points.tolist() == EARLIER[0].tolist()
    mask = object_prompt(mask=np.eye(2))
    assert mask.after(*EARLIER) is mask


class Recorder:
    """Stands where the network does and keeps what it is asked."""

    class config:  # noqa: N801
        image_size = 200

    def prompt(self, frame: Any, **asked: Any) -> Any:
        self.asked = asked
        return "the answer"


class Frame:
    image = torch.zeros(1)


def asked_for(drawn: ObjectPrompt, previous: Tensor | None = None) -> dict[str, Any]:
    recorder: Any = Recorder()
    frame: Any = Frame()
    answer: Any = predict_clicked(recorder, frame, drawn, memory=None, previous=previous)
    assert answer == "the answer"
    asked: dict[str, Any] = recorder.asked
    return asked


def test_the_network_is_asked_in_its_pixels() -> None:
    asked = asked_for(object_prompt([[0.25, 0.5]], [0], [0.0, 0.25, 0.5, 1.0]))
    assert asked["points"].tolist() == [[[50.0, 100.0]]]
    assert asked["point_labels"].tolist() == [[0]]
    assert asked["boxes"].tolist() == [[0.0, 50.0, 100.0, 200.0]]
    assert asked["mask_logits"] is None
    assert asked["memory"] is None


def test_no_points_and_no_box_are_not_empty_ones() -> None:
    asked = asked_for(object_prompt(box=[0.0, 0.25, 0.5, 1.0]))
    assert asked["points"] is None
    assert asked["point_labels"] is None
    assert asked_for(object_prompt([[0.25, 0.5]]))["boxes"] is None


def test_a_mask_to_correct_is_held_within_limits() -> None:
    """A masklet that is not in the frame has -1024 everywhere."""
    previous = torch.tensor([[-1024.0, 3.0], [40.0, -5.0]])
    asked = asked_for(object_prompt([[0.5, 0.5]]), previous)
    limit = PREVIOUS_MASK_LIMIT
    assert asked["mask_logits"].tolist() == [[[-limit, 3.0], [limit, -5.0]]]
