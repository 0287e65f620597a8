from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import (
    bucket_flops,
    concept_flops,
    floor,
    image_flops,
    masklet_flops,
    neck_flops,
    vit_flops,
)
from maskstream.detector.config import DetectorConfig, ViTConfig
from maskstream.tracker.config import PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.maps import FrameEmbedding
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.frame import MultiplexFrame
from maskstream.tracker.network.multiplex.memory_attention import BucketTokens
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.multiplex.slots import SlotTable
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


def test_what_torch_counts_for_a_bucket() -> None:
    config = MultiplexConfig(
        image_size=112, prompt_encoder_config=PromptEncoderConfig(image_size=112)
    )
    model, table = MultiplexModel(config).eval(), SlotTable.holding(16, 16)
    cells, hidden, maps = 64, config.fpn_hidden_size, range(config.num_maskmem)
    view = FrameEmbedding(
        (torch.zeros(1, 32, 32, 32), torch.zeros(1, 64, 16, 16)),
        torch.zeros(1, hidden, 8, 8),
        torch.zeros(1, hidden, 8, 8),
    )
    frame = MultiplexFrame(view, view)

    def step() -> None:
        tokens = BucketTokens(
            frames=maps,
            temporal=maps,
            maps=torch.zeros(1, len(maps), cells, hidden),
            pointers=torch.zeros(1, 256, hidden),
            pointer_position=torch.zeros(1, 256, hidden),
        )
        images = {number: torch.zeros(cells, hidden) for number in maps}
        (said,) = model.propagate(frame, [tokens], images, [table.is_live()])
        given = np.zeros(16, np.bool_)
        model.encode_memory(frame, said.low_res_masks, said.object_score_logits, table, given)

    assert bucket_flops(config) == pytest.approx(counted(step), rel=0.05)
    assert bucket_flops(MultiplexConfig()) / 1e12 == pytest.approx(1.06, abs=0.05)


def test_absent_concepts_cost_no_masks() -> None:
    config = DetectorConfig()
    assert concept_flops(config, 8, masks=False) < 0.9 * concept_flops(config, 8, masks=True)
    assert image_flops(config) > vit_flops(config.vision_config.backbone_config)


def test_floor() -> None:
    least = floor(790 * 10**9, 790.0)
    assert least.gflop == pytest.approx(790.0)
    assert least.floor_ms == pytest.approx(1.0)
