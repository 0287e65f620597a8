"""What an actor loads, and how it runs it."""

from __future__ import annotations

import pytest
import torch

from maskstream.core.errors import ConfigError
from maskstream.detector.build import best_dtype
from maskstream.pipeline.compat.builders import build_sam3_image_model
from maskstream.pipeline.video.model import VideoModel
from maskstream.workers.models import ModelSpec


def test_one_default_dtype_everywhere() -> None:
    assert best_dtype("cpu") is torch.float32
    assert best_dtype("cuda") is best_dtype(torch.device("cuda:1")) is torch.bfloat16
    for device in (torch.device("cpu"), torch.device("cuda")):
        assert ModelSpec().dtype_on(device) is best_dtype(device)
    assert ModelSpec(device="cpu").load_detector().model.text_projection.weight.dtype is (
        torch.float32
    )
    assert VideoModel.from_checkpoint("tiny", device="cpu").dtype is torch.float32
    assert build_sam3_image_model(device="cpu").text_projection.weight.dtype is torch.float32


def test_a_dtype_that_is_asked_for() -> None:
    assert ModelSpec(dtype="float16").dtype_on(torch.device("cpu")) is torch.float16
    with pytest.raises(ConfigError, match="dtype is 'int8'"):
        ModelSpec(dtype="int8")
