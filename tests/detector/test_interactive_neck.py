"""The third neck: features for clicks, of the same ViT pass."""

from __future__ import annotations

from dataclasses import replace

import torch

from maskstream.core.types import Detections
from maskstream.detector.build import Sam3ImageModel
from maskstream.detector.checkpoint import to_checkpoint, to_module
from maskstream.detector.config import DetectorConfig
from maskstream.detector.frames import DetectedFrame
from maskstream.detector.model import Detector
from maskstream.workers.messages import PackedAnswer


@torch.no_grad()
def test_a_third_neck_has_features_of_its_own(model: Sam3ImageModel) -> None:
    config = replace(model.config, interactive_neck=True)
    assert DetectorConfig.from_dict(config.to_dict()) == config
    assert "interactive_neck" not in model.config.to_dict()
    detector = Detector(config).eval()
    size = config.image_size
    features = detector.encode_image(torch.rand(2, 3, size, size), tracker=True)
    own = features.tracker_features(1)
    assert own.interactive is not None
    grid = config.vision_config.backbone_config.grid_size
    for followed, clicked, scale in zip(own.levels, own.interactive, (4, 2, 1), strict=True):
        assert (
            followed.shape == clicked.shape == (1, config.hidden_size, scale * grid, scale * grid)
        )
        assert not torch.equal(followed, clicked)
    assert detector.encode_image(torch.rand(1, 3, size, size)).interactive_levels is None

    names = to_checkpoint(detector.state_dict())
    assert any(name.startswith("interactive_neck.fpn_layers.0.") for name in names)
    assert set(to_module(names)) == set(detector.state_dict())

    frame = DetectedFrame(own, Detections.empty((4 * grid, 4 * grid)))
    sent = PackedAnswer.of(frame).unpack(torch.device("cpu"))
    assert sent.features.interactive is not None
    for one, other in zip(sent.features.interactive, own.interactive, strict=True):
        assert torch.equal(one.float(), other.float())


def test_official_necks_of_three_levels_are_read() -> None:
    config = DetectorConfig.from_dict({"vision_config": {"scale_factors": [4.0, 2.0, 1.0]}})
    with torch.device("meta"):
        assert len(Detector(config).tracker_neck.fpn_layers) == 3
