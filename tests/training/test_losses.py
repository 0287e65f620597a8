from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from maskstream.detector.model import Detector
from tests.training.small import SIDE, random_truth, small_detector_config
from training.config import RunConfig, Stage
from training.data import BatchPlan, make_batch
from training.dense import DenseHead, absolute_boxes
from training.evaluate_detector import concepts_of
from training.initialise import initialise_detector
from training.losses import LossWeights, detector_losses, dice_loss, focal_loss, mask_loss
from training.tokenizer import load_fitted

TOKENIZER = load_fitted()
PLAN = BatchPlan(
    side=SIDE, images=2, concepts=6, exemplar_rate=0.4, split="train", first=0, count=1
)


def test_focal_loss_is_cross_entropy_weighted_by_the_error() -> None:
    logits = torch.tensor([2.0, -1.0, 0.5])
    targets = torch.tensor([1.0, 0.0, 0.3])
    plain = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert torch.allclose(focal_loss(logits, targets, gamma=0.0), plain)
    weighted = plain * (targets - logits.sigmoid()).abs() ** 2
    assert torch.allclose(focal_loss(logits, targets), weighted)


def test_perfect_masks_cost_nothing_and_wrong_ones_do() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:5, 2:6] = 1
    right, wrong = (truth * 2 - 1) * 30, (1 - truth * 2) * 30
    assert float(dice_loss(right, truth)) == pytest.approx(0.0, abs=1e-4)
    assert float(dice_loss(wrong, truth)) > 0.8
    cells, dice = mask_loss(right, truth)
    assert float(cells + dice) == pytest.approx(0.0, abs=1e-4)


def test_absolute_boxes_are_the_same_all_over_an_object() -> None:
    height, width = 4, 8
    x = (torch.arange(width) + 0.5).expand(height, -1) / width
    y = (torch.arange(height) + 0.5)[:, None].expand(-1, width) / height
    box = (0.25, 0.5, 0.75, 1.0)
    edges = torch.stack((x - box[0], y - box[1], box[2] - x, box[3] - y))[None]
    found = absolute_boxes(edges)
    assert torch.allclose(
        found, torch.tensor([0.5, 0.75, 0.5, 0.5])[:, None, None].expand_as(found)
    )


def test_every_trained_parameter_of_the_detector_gets_a_gradient() -> None:
    model = Detector(small_detector_config(TOKENIZER.get_vocab_size())).train()
    initialise_detector(model)
    # Refinement starts at zero, which would hide what lies before it.
    for parameter in model.detr_decoder.box_head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = make_batch(PLAN, 3, TOKENIZER)
    assert int(batch.target_count.sum()) > 0
    output = model(model.encode_image(batch.to_float()), concepts_of(model, batch))
    losses = detector_losses(model, output, batch, LossWeights())
    assert set(losses) >= {"classification", "box", "giou", "mask", "dice", "presence", "semantic"}
    assert {"many_classification", "many_box", "many_giou"} <= set(losses)
    torch.stack(list(losses.values())).sum().backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    untrained = (
        "tracker_neck.",
        "text_encoder.text_projection",
        "vision_encoder.neck.fpn_layers.3",
    )
    allowed = [name for name in without if name.startswith(untrained)]
    # The last stage of the pixel decoder is part of the checkpoint, but no level is left for it.
    extra = [name for name in without if name not in allowed and "conv_layers.2" not in name]
    assert [
        name for name in extra if "norms.2" not in name and not name.endswith("k_proj.bias")
    ] == []


def test_losses_are_finite_when_nothing_is_there() -> None:
    model = Detector(small_detector_config(TOKENIZER.get_vocab_size())).train()
    batch = random_truth(torch.Generator().manual_seed(0), counts=[0, 0])
    output = model(model.encode_image(batch.to_float()), concepts_of(model, batch))
    losses = detector_losses(model, output, batch, LossWeights())
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    assert float(losses["box"].detach()) == float(losses["mask"].detach()) == 0.0


def test_a_few_steps_on_one_batch_lower_the_loss() -> None:
    model = Detector(small_detector_config(TOKENIZER.get_vocab_size())).train()
    initialise_detector(model)
    dense = DenseHead(model.config.hidden_size)
    batch = make_batch(PLAN, 1, TOKENIZER)
    optimizer = torch.optim.AdamW([*model.parameters(), *dense.parameters()], lr=2e-3)
    history = []
    for _ in range(25):
        features = model.encode_image(batch.to_float())
        losses = detector_losses(
            model, model(features, concepts_of(model, batch)), batch, LossWeights()
        )
        total = torch.stack([*losses.values(), dense(features.levels, batch)]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(float(total.detach()))
    assert history[-1] < 0.75 * history[0]


def test_stages_follow_one_another() -> None:
    stages = (Stage(side=64, images=1, steps=3), Stage(side=128, images=1, steps=2))
    config = RunConfig(model="m.yaml", stages=stages)
    assert [config.stage_at(step) for step in range(5)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
