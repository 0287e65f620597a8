"""The image interface that SAM 3 clients know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskstream.core.errors import ConfigError, ImageError, PromptError
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.processor import RELEASED_RESOLUTION, Sam3Processor


def picture(height: int = 90, width: int = 130) -> Image.Image:
    """A red disc on grey."""
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 110, np.uint8)
    image[(x - 60) ** 2 + (y - 40) ** 2 < 25**2] = (220, 30, 30)
    return Image.fromarray(image)


@pytest.fixture
def processor(model: Sam3ImageModel) -> Sam3Processor:
    # Everything passes, so that the shapes of results do not depend on what the model has learnt.
    return Sam3Processor(model, confidence_threshold=0.0)


def test_state_holds_what_clients_read(processor: Sam3Processor) -> None:
    state = processor.set_image(picture())
    assert (state["original_height"], state["original_width"]) == (90, 130)
    state = processor.set_text_prompt(prompt="red circle", state=state)
    count = len(state["scores"])
    assert count == processor.model.config.detr_decoder_config.num_queries
    assert state["masks"].shape == state["masks_logits"].shape == (count, 1, 90, 130)
    assert state["masks"].dtype is torch.bool
    assert torch.equal(state["masks"], state["masks_logits"] > 0.5)
    assert state["boxes"].shape == (count, 4)
    assert bool((state["boxes"][:, 2:] >= state["boxes"][:, :2]).all())
    assert bool(((state["scores"] >= 0) & (state["scores"] <= 1)).all())


def test_threshold_keeps_exactly_what_is_above_it(processor: Sam3Processor) -> None:
    state = processor.set_text_prompt("red circle", processor.set_image(picture()))
    scores, boxes = state["scores"], state["boxes"]
    middle = float(scores.median())
    state = processor.set_confidence_threshold(middle, state)
    assert torch.equal(state["scores"], scores[scores > middle])
    torch.testing.assert_close(state["boxes"], boxes[scores > middle])


def test_prompts_add_up_and_reset(processor: Sam3Processor) -> None:
    state = processor.set_image(picture())
    text = processor.set_text_prompt("red circle", state)["scores"]
    both = processor.add_geometric_prompt([0.46, 0.44, 0.4, 0.5], True, state)["scores"]
    assert not torch.allclose(text, both)
    negative = processor.add_geometric_prompt([0.9, 0.9, 0.1, 0.1], False, state)["scores"]
    assert not torch.allclose(both, negative)
    assert processor.reset_all_prompts(state) is state
    assert "boxes" not in state
    again = processor.set_text_prompt("red circle", state)["scores"]
    torch.testing.assert_close(again, text)


def test_exemplars_of_every_kind(processor: Sam3Processor) -> None:
    mask = torch.zeros(45, 65)
    mask[10:30, 20:40] = 1
    results = []
    kinds: list[dict[str, Any]] = [
        {"box": [0.46, 0.44, 0.4, 0.5]},
        {"point": [0.46, 0.44]},
        {"mask": mask},
    ]
    for kind in kinds:
        state = processor.set_image(picture())
        results.append(processor.add_geometric_prompt(state=state, **kind)["scores"])
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[0], results[2])


def test_batch_equals_one_by_one(processor: Sam3Processor) -> None:
    images = [picture(), picture(61, 47)]
    batch = processor.set_text_prompt("red circle", processor.set_image_batch(images))
    assert batch["original_heights"] == [90, 61]
    for index, image in enumerate(images):
        one = processor.set_text_prompt("red circle", processor.set_image(image))
        torch.testing.assert_close(batch["scores"][index], one["scores"], atol=1e-4, rtol=1e-4)
        assert batch["masks"][index].shape == one["masks"].shape


def test_a_new_image_forgets_the_old_one(processor: Sam3Processor) -> None:
    state = processor.set_text_prompt("red circle", processor.set_image(picture()))
    state = processor.set_image(picture(20, 30), state)
    assert "boxes" not in state
    assert state["original_width"] == 30


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (333, 2)])
def test_tiny_and_narrow_images(processor: Sam3Processor, size: tuple[int, int]) -> None:
    state = processor.set_text_prompt("circle", processor.set_image(np.zeros((*size, 3), np.uint8)))
    assert state["masks"].shape[-2:] == size


def test_misuse_is_named_and_harms_nothing(processor: Sam3Processor) -> None:
    nothing: Any = None
    for missing in ({}, nothing):
        with pytest.raises(PromptError, match="set_image"):
            processor.set_text_prompt("dog", missing)
    state = processor.set_text_prompt("red circle", processor.set_image(picture()))
    before = state["scores"]
    bad: list[tuple[dict[str, Any], str]] = [
        ({}, "exactly one"),
        ({"box": [0.5, 0.5, 0.1]}, "3 numbers"),
        ({"box": [0.5, 0.5, 0.0, 0.2]}, "above 0"),
        ({"box": [0.5, 0.5, 3.5, 0.2]}, r"\[0, 1\]"),
        ({"box": [535.0, 470.0, 110.0, 360.0]}, "look like pixels"),
        ({"box": [float("nan"), 0.5, 0.5, 0.2]}, r"\[0, 1\]"),
        ({"box": [1.5, 0.5, 0.5, 0.2]}, "outside the image"),
        ({"box": [0.5, -0.2, 0.2, 0.2]}, "outside the image"),
        ({"box": ["left", 0.5, 0.5, 0.2]}, "as numbers"),
        ({"box": 5}, "as numbers"),
        ({"box": torch.full((1, 4), 0.5)}, "as numbers"),
        ({"point": [1.2, 0.5]}, r"\[0, 1\]"),
        ({"point": [None, 0.5]}, "as numbers"),
        ({"mask": "mask.png"}, "an array"),
        ({"mask": torch.full((5, 5), float("nan"))}, "NaN"),
        ({"mask": torch.zeros(5, 5)}, "something inside"),
        ({"mask": torch.ones(5)}, "height, width"),
    ]
    for arguments, complaint in bad:
        with pytest.raises(PromptError, match=complaint):
            processor.add_geometric_prompt(state=state, **arguments)
    for text in ("", "   ", "word " * 60, nothing):
        with pytest.raises(PromptError):
            processor.set_text_prompt(text, state)
    with pytest.raises(ImageError):
        processor.set_image(np.zeros((0, 5, 3), np.uint8), state)
    threshold: Any
    for threshold, complaint in ((1.5, r"\[0, 1\]"), (float("nan"), r"\[0, 1\]"), ("x", "number")):
        with pytest.raises(PromptError, match=complaint):
            processor.set_confidence_threshold(threshold, state)
    torch.testing.assert_close(processor.set_confidence_threshold(0.0, state)["scores"], before)


def test_a_box_is_cut_at_the_edge(processor: Sam3Processor) -> None:
    state = processor.set_image(picture())
    for box in ([0.5, 0.5, 1.0, 1.0], [0.95, 0.5, 0.3, 0.5], [0.3, 0.3, 0.1, 0.2]):
        state = processor.add_geometric_prompt(box, True, state)
    whole, cut, inside = state["exemplar"].boxes
    assert whole == (0.5, 0.5, 1.0, 1.0)
    assert cut == pytest.approx((0.9, 0.5, 0.2, 0.5))
    assert inside == (0.3, 0.3, 0.1, 0.2)


def test_chinese_text_is_understood_as_text(processor: Sam3Processor) -> None:
    state = processor.set_text_prompt("红色圆形", processor.set_image(picture()))
    assert len(state["scores"]) > 0


def test_a_resolution_is_the_models_own_or_that_of_the_released_one(model: Sam3ImageModel) -> None:
    size = model.config.image_size
    for resolution in (None, size, RELEASED_RESOLUTION):
        processor = Sam3Processor(model, resolution=resolution, device="cpu")
        assert processor.confidence_threshold == 0.5
    with pytest.raises(ConfigError, match="resolution"):
        Sam3Processor(model, resolution=size + 1)
    with pytest.raises(ConfigError, match="device"):
        Sam3Processor(model, device="meta")
