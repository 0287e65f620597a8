"""The tracker's network on its own: batching, edge cases, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskstream.core.errors import ConfigError, InputError, PromptError
from maskstream.core.types import TrackerFeatures
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.memory_bank import MemoryBank
from maskstream.tracker.network.model import FrameEmbedding, TrackerModel

pytestmark = pytest.mark.usefixtures("two_threads")

HIDDEN, MEMORY = 32, 16


def small_config() -> TrackerConfig:
    return TrackerConfig(
        image_size=56,
        fpn_hidden_size=HIDDEN,
        prompt_encoder_config=PromptEncoderConfig(hidden_size=HIDDEN, image_size=56),
        mask_decoder_config=MaskDecoderConfig(
            hidden_size=HIDDEN, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=24
        ),
        memory_attention_hidden_size=HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=40,
    )


@pytest.fixture
def model() -> TrackerModel:
    model = TrackerModel(small_config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def frame(model: TrackerModel) -> FrameEmbedding:
    with torch.inference_mode():
        return model.embed(features())


def features() -> TrackerFeatures:
    height, width = small_config().grid
    return TrackerFeatures(
        levels=(
            torch.randn(1, HIDDEN, 4 * height, 4 * width),
            torch.randn(1, HIDDEN, 2 * height, 2 * width),
            torch.randn(1, HIDDEN, height, width),
        )
    )


def filled_bank(model: TrackerModel, *, frames: list[list[int]]) -> MemoryBank:
    """A bank whose row i has memories of the frames ``frames[i]``, the first conditioning."""
    bank = MemoryBank(model.config, model.grid)
    bank.append_rows(len(frames))
    cells = model.grid[0] * model.grid[1]
    for row, indices in enumerate(frames):
        for index in indices:
            bank.write(
                [row],
                index,
                torch.randn(1, cells, MEMORY),
                torch.randn(1, HIDDEN),
                conditioning=index == indices[0],
            )
    return bank


@torch.inference_mode()
def test_masklets_do_not_touch_each_other(model: TrackerModel, frame: FrameEmbedding) -> None:
    bank = filled_bank(model, frames=[[0, 1, 2], [2], [0, 2], [1]])
    together = model.propagate(frame, bank.gather(3, reverse=False))
    for row in range(4):
        alone = model.propagate(frame, bank.gather(3, reverse=False, rows=[row]))
        for name in ("low_res_masks", "iou_scores", "object_score_logits", "object_pointers"):
            a, b = getattr(together, name)[row], getattr(alone, name)[0]
            assert torch.equal(a, b), name


@torch.inference_mode()
def test_a_masklet_is_the_same_to_the_bit_among_any_number(
    model: TrackerModel, frame: FrameEmbedding
) -> None:
    frames = [list(range(2 + row % 4)) for row in range(13)]
    bank = filled_bank(model, frames=frames)
    everything = outcomes(model, frame, bank, range(13))
    for count in (1, 2, 3, 5, 8):
        some = outcomes(model, frame, bank, range(4, 4 + count))
        for name, values in some.items():
            assert torch.equal(values, everything[name][4 : 4 + count]), (count, name)


def outcomes(
    model: TrackerModel, frame: FrameEmbedding, bank: MemoryBank, rows: range
) -> dict[str, Tensor]:
    """What the network says about some rows, and the memories it makes of that."""
    said = model.propagate(frame, bank.gather(5, reverse=False, rows=list(rows)))
    maps = model.encode_memory(frame, said.low_res_masks, said.object_score_logits, binarize=False)
    return {
        "masks": said.low_res_masks,
        "scores": said.object_score_logits,
        "qualities": said.iou_scores,
        "pointers": said.object_pointers,
        "maps": maps,
    }


@torch.inference_mode()
def test_entries_that_are_not_valid_do_not_count(
    model: TrackerModel, frame: FrameEmbedding
) -> None:
    """Both ways of attending: in blocks on the CPU, and with a mask where gradients are on."""
    memory = filled_bank(model, frames=[[0, 1, 2], [2]]).gather(3, reverse=False)
    assert not memory.full
    before = model.propagate(frame, memory).object_pointers
    with torch.inference_mode(False), torch.no_grad():
        maps, pointers = memory.maps.clone(), memory.pointers.clone()
        maps[~memory.map_valid] = 100
        pointers[~memory.pointer_valid] = 100
    changed = type(memory)(
        maps, memory.map_offsets, memory.map_valid,
        pointers, memory.pointer_offsets, memory.pointer_valid,
    )  # fmt: skip
    assert torch.equal(model.propagate(frame, changed).object_pointers, before)
    with torch.inference_mode(False), torch.enable_grad():
        again = model.embed(TrackerFeatures(levels=features().levels))
        masked = model.propagate(again, changed)
        plain = model.propagate(again, memory)
    assert torch.allclose(masked.object_pointers, plain.object_pointers, atol=1e-5)


@torch.inference_mode()
def test_prompts_in_a_batch_are_as_one_by_one(model: TrackerModel, frame: FrameEmbedding) -> None:
    points = torch.rand(3, 2, 2) * 56
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    together = model.prompt(frame, points=points, point_labels=labels, memory=None)
    for row in range(3):
        alone = model.prompt(
            frame, points=points[row, None], point_labels=labels[row, None], memory=None
        )
        assert torch.allclose(together.low_res_masks[row], alone.low_res_masks[0], atol=1e-4)


@torch.inference_mode()
def test_shapes_and_the_empty_batch(model: TrackerModel, frame: FrameEmbedding) -> None:
    cells = model.grid[0] * model.grid[1]
    for n in (0, 2):
        given = model.from_masks(frame, (torch.rand(n, 20, 30) > 0.5).float())
        boxes = torch.tensor([5.0, 5, 30, 40]).repeat(n, 1)
        boxed = model.prompt(frame, boxes=boxes, memory=None)
        bank = filled_bank(model, frames=[[0, 1]] * n)
        seen = model.propagate(frame, bank.gather(2, reverse=False))
        for prediction in (given, boxed, seen):
            assert prediction.low_res_masks.shape == (n, *model.mask_size)
            assert prediction.iou_scores.shape == (n,)
            assert prediction.object_score_logits.shape == (n,)
            assert prediction.object_pointers.shape == (n, HIDDEN)
        maps = model.encode_memory(
            frame, seen.low_res_masks, seen.object_score_logits, binarize=False
        )
        assert maps.shape == (n, cells, MEMORY)
        assert maps.dtype == torch.bfloat16


@torch.inference_mode()
def test_a_given_mask_is_the_answer(model: TrackerModel, frame: FrameEmbedding) -> None:
    masks = torch.zeros(2, *model.mask_size)
    masks[0, 2:9, 3:12] = 1
    got = model.from_masks(frame, masks)
    assert torch.equal(got.low_res_masks[0].sign(), masks[0] * 2 - 1)
    assert got.low_res_masks.abs().max() <= 10.0001
    assert got.object_score_logits.tolist() == [10, -10]
    assert got.iou_scores.tolist() == [1, 1]
    assert torch.equal(got.object_pointers[1], model.no_object_pointer[0])


@torch.inference_mode()
def test_absent_objects_are_marked_in_memory(model: TrackerModel, frame: FrameEmbedding) -> None:
    logits = torch.randn(1, *model.mask_size)
    there = model.encode_memory(frame, logits, torch.tensor([3.0]), binarize=True).float()
    absent = model.encode_memory(frame, logits, torch.tensor([-3.0]), binarize=True).float()
    vector = model.occlusion_spatial_embedding_parameter
    assert vector is not None
    assert torch.allclose(absent - there, vector.expand_as(there), atol=0.05)


@torch.inference_mode()
def test_many_masklets_are_encoded_as_few(model: TrackerModel, frame: FrameEmbedding) -> None:
    logits, scores = torch.randn(9, *model.mask_size), torch.randn(9)
    together = model.encode_memory(frame, logits, scores, binarize=False).float()
    alone = model.encode_memory(frame, logits[7:8], scores[7:8], binarize=False).float()
    assert torch.allclose(together[7], alone[0], rtol=2**-7, atol=1e-3)


@torch.inference_mode()
def test_it_runs_in_bfloat16(model: TrackerModel) -> None:
    features32 = features()
    bank = filled_bank(model, frames=[[0, 1], [1]])
    want = model.propagate(model.embed(features32), bank.gather(2, reverse=False))
    model.bfloat16()
    features16 = TrackerFeatures(levels=tuple(x.bfloat16() for x in features32.levels))  # type: ignore[arg-type]
    frame = model.embed(features16)
    got = model.propagate(frame, bank.gather(2, reverse=False))
    assert got.low_res_masks.dtype == torch.bfloat16
    assert torch.allclose(got.iou_scores.float(), want.iou_scores, atol=0.05)
    maps = model.encode_memory(frame, got.low_res_masks, got.object_score_logits, binarize=False)
    assert maps.isfinite().all()
    assert model.from_masks(frame, torch.ones(1, 9, 9)).object_pointers.isfinite().all()
    clicked = model.prompt(
        frame, points=torch.tensor([[[3.0, 4.0]]]), point_labels=torch.tensor([[1]]), memory=None
    )
    assert clicked.object_pointers.isfinite().all()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "no prompt"),
        ({"points": torch.zeros(1, 2, 2)}, "together"),
        ({"points": torch.zeros(1, 2, 3), "point_labels": torch.zeros(1, 2)}, "points of shape"),
        ({"points": torch.zeros(1, 2, 2), "point_labels": torch.zeros(1, 3)}, "differ"),
        ({"boxes": torch.zeros(4)}, "boxes of shape"),
        ({"mask_logits": torch.zeros(1, 3, 3)}, "mask_logits of shape"),
        ({"boxes": torch.zeros(2, 4), "mask_logits": torch.zeros(1, 16, 16)}, "differ"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    model: TrackerModel, frame: FrameEmbedding, prompt: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        model.prompt(frame, memory=None, **prompt)  # type: ignore[arg-type]


def test_other_refusals(model: TrackerModel, frame: FrameEmbedding) -> None:
    memory = filled_bank(model, frames=[[0], [0]]).gather(1, reverse=False)
    with pytest.raises(PromptError, match="memory of 2"):
        model.prompt(frame, boxes=torch.zeros(1, 4), memory=memory)
    with pytest.raises(PromptError, match="must be"):
        model.from_masks(frame, torch.zeros(4, 4))
    fine, middle, coarse = features().levels
    with pytest.raises(InputError, match="this model takes"):
        model.embed(TrackerFeatures(levels=(fine, coarse, middle)))


def test_config_reads_what_it_writes() -> None:
    config = small_config()
    assert TrackerConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_maskmems": 7}, "unknown keys"),
        ({"mask_decoder_config": {"mlp": 3}}, "unknown keys"),
        ({"num_maskmem": 7.5}, "type int"),
        ({"num_maskmem": True}, "type int"),
        ({"num_maskmem": 1}, "at least 2"),
        ({"max_cond_frame_num": 1}, "at least 2"),
        ({"image_size": 57}, "multiple of patch_size"),
        ({"memory_attention_hidden_size": 64}, "must be 32"),
        ({"memory_encoder_output_channels": 12}, "multiple of"),
        ({"memory_attention_num_attention_heads": 3}, "multiple of heads"),
        ({"memory_attention_dropout": 1.0}, "must lie in"),
        ({"mask_downsampler_total_stride": 8}, "must be 16"),
        ({"memory_fuser_padding": 1}, "keep the size"),
        ({"memory_fuser_hidden_act": "wavy"}, "unknown"),
        ({"rope_parameters": {"rope_type": "round"}}, "axial"),
        ({"memory_attention_rope_feat_sizes": [9, 9]}, "must be"),
    ],
)
def test_config_faults_are_named(changes: dict[str, object], message: str) -> None:
    values = small_config().to_dict() | changes
    with pytest.raises(ConfigError, match=message):
        TrackerConfig.from_dict(values)


def test_config_ignores_bookkeeping() -> None:
    values = small_config().to_dict() | {"transformers_version": "5", "dtype": None, "top_k": 50}
    assert TrackerConfig.from_dict(values) == small_config()


def test_proposals_are_the_masks_that_an_answer_is_chosen_from(
    model: TrackerModel, frame: FrameEmbedding
) -> None:
    points, labels = torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1, dtype=torch.int64)
    with torch.inference_mode():
        masks, scores = model.propose(frame, points=points, point_labels=labels, several=True)
        single, score = model.propose(frame, points=points, point_labels=labels, several=False)
        answer = model.prompt(frame, points=points, point_labels=labels, memory=None)
    assert masks.shape == (1, 3, *model.mask_size)
    assert single.shape == (1, 1, *model.mask_size)
    assert score.shape == (1, 1)
    best = int(scores.argmax())
    assert float(scores[0, best]) == pytest.approx(float(answer.iou_scores))
    if bool(answer.object_score_logits > 0):
        torch.testing.assert_close(masks[:, best], answer.low_res_masks)
