"""Each part of SAM 3.1's network against what the original computes."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.position import sine_position_2d
from maskstream.tracker.network.maps import as_tokens, resize, time_code
from maskstream.tracker.network.multiplex.frame import MultiplexFrame
from maskstream.tracker.network.multiplex.memory_attention import BucketTokens
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.multiplex.slots import SlotTable
from tests.tracker.network.multiplex.reference import (
    GRID,
    WIDTH,
    array,
    close,
    embedding,
    facts,
    frame_at,
    named_model,
    stats,
    waves,
)


@pytest.fixture(scope="module")
def model() -> MultiplexModel:
    return named_model()


def sampled(x: Tensor) -> Tensor:
    return x[:, ::7, ::3, ::3]


def as_map(x: Tensor) -> Tensor:
    """(B, L, C) to (B, C, h, w)."""
    return x.transpose(1, 2).unflatten(2, (GRID, GRID))


def slots_of(name: str) -> SlotTable:
    return SlotTable(tuple(tuple(bucket) for bucket in facts()["unit"][name]["slots"]))


def frame_of(image: Tensor) -> MultiplexFrame:
    s0, s1 = array("unit/s0"), array("unit/s1")
    return MultiplexFrame(embedding(image, s0, s1), embedding(image, s0, s1))


@torch.no_grad()
def test_tables(model: MultiplexModel) -> None:
    close(sampled(sine_position_2d(GRID, GRID, WIDTH)), "unit/tables/sine16")
    for name, code in (
        ("propagation", model.shared_image_embedding),
        ("click", model.interactive_prompt_encoder.shared_embedding),
    ):
        close(sampled(as_map(code.of_grid(GRID, GRID)[None])), f"unit/tables/fourier_{name}16")
    far = torch.tensor([0, 1, 2, 7, 15, 40]) / 15
    near = torch.tensor([1, 5, 8]) / 8
    project = model.temporal_positional_encoding_projection_layer
    close(project(time_code(far, WIDTH))[:, ::7], "unit/tables/pointer_time_code")
    close(project(time_code(near, WIDTH))[:, ::7], "unit/tables/pointer_time_code_divisor8")


@torch.no_grad()
def test_the_finer_levels_are_projected_by_each_decoder(model: MultiplexModel) -> None:
    table = array("unit/conv/coef")
    fine, middle = waves(table, 64, 0), waves(table, 32, 1)
    for name, decoder in (
        ("propagation", model.mask_decoder),
        ("interactive", model.interactive_mask_decoder),
    ):
        close(decoder.conv_s0(fine)[..., ::4, ::4], f"unit/conv/{name}_s0")
        close(decoder.conv_s1(middle)[..., ::4, ::4], f"unit/conv/{name}_s1")


@torch.no_grad()
@pytest.mark.parametrize("name", ["mem_b1", "mem_b2"])
def test_memory_encoder(model: MultiplexModel, name: str) -> None:
    table = slots_of(name)
    logits = array(f"unit/{name}/mask_logits64")[:, 0]
    scores = array(f"unit/{name}/scores")[:, 0]
    frame = frame_of(array(f"unit/{name}/pix"))
    given = np.zeros(table.num_objects, np.bool_)
    given[facts()["unit"][name]["conditioning_objects"]] = True

    at_image_size = resize(logits, (224, 224), antialias=False)
    maps = as_map(model.encode_memory(frame, at_image_size, scores, table, given))
    close(stats(maps), f"unit/{name}/maskmem_from_224_stats")
    close(maps if name == "mem_b1" else sampled(maps), f"unit/{name}/maskmem_from_224")

    large = resize(logits, (256, 256), antialias=False)
    there = torch.where(large.flatten(1).gt(0).any(1), 10.0, -10.0)
    maps = as_map(model.encode_memory(frame, large, there, table, given))
    close(stats(maps), f"unit/{name}/maskmem_from_256_stats")
    close(sampled(maps), f"unit/{name}/maskmem_from_256")


@torch.no_grad()
@pytest.mark.parametrize("name", ["att_b1", "att_b2"])
def test_memory_attention(model: MultiplexModel, name: str) -> None:
    known = facts()["unit"][name]
    num_maps, cells = len(known["rows"]), GRID * GRID
    # Stored sequence first.
    image = array(f"unit/{name}/current").transpose(0, 1).contiguous()
    maps = array(f"unit/{name}/memory").transpose(0, 1).contiguous()
    seen = array(f"unit/{name}/memory_image")[:, 0].unflatten(0, (num_maps, cells))
    distances = torch.tensor(known["pointer_distances"]) / known["pointer_divisor"]
    position = model.pointer_position(distances)
    close(position[0, ::16], f"unit/{name}/pointer_positions")
    tokens = BucketTokens(
        frames=range(num_maps),
        temporal=known["rows"],
        maps=maps.unflatten(1, (num_maps, cells)),
        pointers=array(f"unit/{name}/pointers").transpose(0, 1).contiguous(),
        pointer_position=position,
    )
    in_frame = as_tokens(sine_position_2d(GRID, GRID, WIDTH))
    in_time = model.memory_temporal_positional_encoding
    (out,) = model.memory_attention(
        image, in_frame, [tokens], dict(enumerate(seen)), in_frame + in_time[:, 0]
    )
    close(stats(out), f"unit/{name}/out_stats")
    out = out.transpose(0, 1)
    close(out if name == "att_b1" else out[::3, :, ::3], f"unit/{name}/out")


@torch.no_grad()
@pytest.mark.parametrize("name", ["dec_b1", "dec_b2"])
def test_propagation_decoder(model: MultiplexModel, name: str) -> None:
    table = slots_of(name)
    live = torch.from_numpy(table.is_live())
    assert torch.equal(live, array(f"unit/{name}/ptr_slots"))
    image = array(f"unit/{name}/image")
    decoder = model.mask_decoder
    marks = torch.where(live[..., None], model.output_valid_embed, model.output_invalid_embed)
    decoded = decoder.decode(as_tokens(image), model._cell_positions(), marks)
    close(decoded.iou_scores, f"unit/{name}/iou")
    close(decoded.object_score_logits[..., None], f"unit/{name}/score")
    close(decoded.mask_tokens, f"unit/{name}/tokens")
    fine = array("unit/s0"), array("unit/s1")
    masks = decoder.upscale(decoded.image, fine, decoder.kernels(decoded.mask_tokens).flatten(1, 2))
    close(masks.unflatten(1, (16, 3))[..., ::4, ::4], f"unit/{name}/masks")

    best = model._decode(frame_of(image), as_tokens(image), table.is_live())
    order = torch.from_numpy(np.array(table.buckets)[table.is_live()])
    rows = order.argsort()
    close(best.low_res_masks[rows][:, None, ::4, ::4], f"unit/{name}/best_low_res")
    close(best.object_pointers[rows], f"unit/{name}/ptr")


@torch.no_grad()
@pytest.mark.parametrize("number", range(6))
def test_clicks(model: MultiplexModel, number: int) -> None:
    known = facts()["unit"]["click"][number]
    name = f"unit/click/{known['tag']}"
    image = array("unit/click/image")
    s0, s1 = known["s0_multiplied_by"] * array("unit/s0"), array("unit/s1")
    if known["s0_multiplied_by"] > 1:
        # Logits of 200, at which single precision itself is 1e-4 apart.
        model, image, s0, s1 = deepcopy(model).double(), image.double(), s0.double(), s1.double()
    frame = MultiplexFrame(embedding(image, s0, s1), embedding(image, s0, s1))
    points = torch.tensor([known["points_pixels_of_224"]])
    labels = torch.tensor([known["labels"]])
    tokens = model.interactive_prompt_encoder.points(points, labels)
    close(tokens, f"{name}/sparse")
    decoded = model._decode_given(frame, tokens, None)
    close(decoded.iou_scores, f"{name}/all4_iou")
    answer = model.click(frame, points, labels)
    close(answer.low_res_masks[:, None, ::2, ::2], f"{name}/low_res")
    close(answer.object_pointers, f"{name}/ptr")
    close(answer.object_score_logits[:, None], f"{name}/score")
    iou = array(f"{name}/iou")
    assert abs(float(answer.iou_scores - iou.max())) < 1e-4


@torch.no_grad()
def test_given_masks(model: MultiplexModel) -> None:
    logits = (array("unit/maskgiven/det_logits64").float() + 65 / 128) / 8
    masks = (resize(logits, (256, 256), antialias=False) > 0).float()
    s0, s1 = array("unit/s0"), array("unit/s1")
    image = array("unit/click/image")
    frame = MultiplexFrame(embedding(image, s0, s1), embedding(image, s0, s1))
    assert masks.flatten(1).any(1).tolist() == [True, True, False]
    prompt = model.mask_downsample(masks[:, None])
    close(prompt[..., ::2, ::2], "unit/maskgiven/mask_prompt64")
    answer = model.from_masks(frame, masks)
    close(answer.low_res_masks[:, None], "unit/maskgiven/low_res")
    close(answer.object_pointers, "unit/maskgiven/ptr")
    close(answer.object_score_logits[:, None], "unit/maskgiven/score")


def test_features_of_a_frame_can_be_made_again() -> None:
    for name, wanted in facts()["feature_check"].items():
        branch, rest = name.split("/")
        level, time = rest.split(" at time ")
        frame = frame_at(float(time))
        view = getattr(frame, branch)
        made = view.image if level == "s2" else view.high_res[int(level[1])]
        x = made.double()
        found = [float(v) for v in (x.sum(), x.abs().sum(), x.flatten()[0], x.flatten()[-1])]
        assert found == pytest.approx(wanted, abs=1e-3)
