"""The builders that programs for SAM 3 call: which arguments they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maskstream.core.errors import CheckpointError, ConfigError
from maskstream.pipeline.compat.builders import (
    build_sam3_image_model,
    build_sam3_predictor,
    build_sam3_video_model,
    build_sam3_video_predictor,
)
from maskstream.pipeline.compat.original_options import first_device
from maskstream.pipeline.video.model import VideoModel


def test_an_image_model(model: VideoModel) -> None:
    built = build_sam3_image_model("vocabulary.gz", "cpu", True, "tiny", False, True, False, True)
    assert built.config == model.detector.config
    assert not built.training
    assert built.inst_interactive_predictor is None
    assert built.device.type == "cpu"
    clicked = build_sam3_image_model(device="cpu", eval_mode=False, enable_inst_interactivity=True)
    assert clicked.training
    assert clicked.inst_interactive_predictor is not None
    assert clicked.to("cpu") is clicked


def test_the_same_results_with_the_tracker_beside_it(model: VideoModel) -> None:
    pixels = torch.rand(1, 3, *[model.detector.config.image_size] * 2) * 2 - 1
    built = build_sam3_image_model(device="cpu", enable_inst_interactivity=True)
    with torch.inference_mode():
        for one, other in zip(
            built.encode_image(pixels, tracker=True).levels,
            model.detector.encode_image(pixels).levels,
            strict=True,
        ):
            assert torch.equal(one, other)


def test_a_video_model() -> None:
    built = build_sam3_video_model("tiny", False, "vocabulary.gz", device="cpu", compile=True)
    assert (built.device.type, built.dtype) == ("cpu", torch.float32)
    assert built.eval().cpu() is built
    assert built.new_det_thresh == built.video_model.config.new_det_thresh
    with pytest.raises(ConfigError, match="device"):
        built.to("nowhere")
    with pytest.raises(AttributeError, match="colour"):
        _ = built.colour


def test_predictors() -> None:
    with build_sam3_video_predictor("tiny", "x", device="cpu", gpus_to_use=range(0)) as predictor:
        assert predictor.model.device.type == "cpu"
    with build_sam3_predictor("tiny", version="sam3", device="cpu", max_num_objects=9) as predictor:
        assert predictor.video_model.config.max_num_objects == 9


def test_the_device_of_a_predictor() -> None:
    assert first_device(None, None) is None
    assert first_device(None, range(0)) is None
    assert first_device("cpu", [0]) == "cpu"
    wanted = "cuda:2" if torch.cuda.is_available() else None
    assert first_device(None, [3, 2]) == wanted


@pytest.mark.parametrize(
    ("build", "arguments", "complaint"),
    [
        (build_sam3_image_model, {"chekpoint": "tiny"}, "chekpoint"),
        (build_sam3_image_model, {"enable_segmentation": False}, "enable_segmentation=True"),
        (build_sam3_video_model, {"has_presence_token": False}, "has_presence_token=True"),
        (build_sam3_video_predictor, {"gpu_ids": [0]}, "gpu_ids"),
        (
            build_sam3_video_predictor,
            {"apply_temporal_disambiguation": False},
            "apply_temporal_disambiguation=True",
        ),
        (build_sam3_predictor, {"version": "sam4"}, "sam3, sam3.1, not 'sam4'"),
    ],
)
def test_what_is_not_offered_is_refused(
    build: Any, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build(**arguments)


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        build_sam3_image_model(checkpoint_path="no/such/folder")
