from __future__ import annotations

from collections.abc import Callable

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import concept_flops, floor, image_flops, masklet_flops, neck_flops, vit_flops
from maskstream.detector.config import DetectorConfig, ViTConfig
from maskstream.tracker.config import TrackerConfig
from tests.detector.small import CONFIG, VIT, random_images, small_detector


def test_the_released_model_as_counted_by_hand() -> None:
    """ViT 5.4 TFLOP, two necks 0.4, a concept 0.4, a masklet with a full bank 0.9."""
    config = DetectorConfig()
    assert vit_flops(ViTConfig()) / 1e12 == pytest.approx(5.4, abs=0.1)
    assert 2 * neck_flops(config) / 1e12 == pytest.approx(0.4, abs=0.1)
    assert concept_flops(config, 33, masks=True) / 1e12 == pytest.approx(0.4, abs=0.15)
    assert masklet_flops(TrackerConfig()) / 1e12 == pytest.approx(0.9, abs=0.1)


def counted(function: Callable[[], object]) -> int:
    """With gradients on and attention spelled out, every operation is one that torch can count."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()


def test_what_torch_counts_in_a_run() -> None:
    detector, pixels = small_detector(), random_images()
    assert vit_flops(VIT) == pytest.approx(
        counted(lambda: detector.vision_encoder.backbone(pixels)), rel=0.01
    )
    grid = detector.vision_encoder.backbone(pixels)
    assert neck_flops(CONFIG) == pytest.approx(
        counted(lambda: detector.vision_encoder.neck(grid)), rel=0.01
    )


def test_absent_concepts_cost_no_masks() -> None:
    config = DetectorConfig()
    assert concept_flops(config, 8, masks=False) < 0.9 * concept_flops(config, 8, masks=True)
    assert image_flops(config) > vit_flops(config.vision_config.backbone_config)


def test_floor() -> None:
    least = floor(790 * 10**9, 790.0)
    assert least.gflop == pytest.approx(790.0)
    assert least.floor_ms == pytest.approx(1.0)
