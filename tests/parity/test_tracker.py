"""Our tracker's network against transformers' on the same random weights and features.

Memory maps are stored as bfloat16, and a value next to a rounding boundary goes either way with
the last bit of float32. Frame by frame, our bank therefore gets the reference's maps after ours
have been compared with them; the last test lets ours run on its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam3TrackerVideoInferenceSession, Sam3TrackerVideoModel

from maskstream.core.types import TrackerFeatures
from maskstream.tracker.config import TrackerConfig
from maskstream.tracker.network.memory_bank import MemoryBank
from maskstream.tracker.network.model import FrameEmbedding, MaskletPrediction, TrackerModel
from tests.parity.reference_tracker import (
    build_pair,
    random_video,
    start_session,
    stored,
    tracker_config,
)

TOLERANCE = 1e-4
NO_OBJECT = -1024.0

SMALL: dict[str, dict[str, Any]] = {
    "released": {},
    "narrow_memory": {
        "cells": 5,
        "hidden": 192,
        "wide": 64,
        "memory_attention_num_layers": 3,
        "num_maskmem": 4,
        "max_cond_frame_num": 2,
        "max_object_pointers_in_encoder": 6,
        "multimask_output_for_tracking": False,
        "sigmoid_scale_for_mem_enc": 7.0,
        "sigmoid_bias_for_mem_enc": -2.0,
    },
    "two_heads": {
        "cells": 7,
        "patch_size": 8,
        "memory_attention_num_attention_heads": 2,
        "memory_attention_downsample_rate": 2,
        "max_cond_frame_num": -1,
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
        "multimask_output_for_tracking": False,
        "memory_fuser_num_layers": 1,
        "rope_theta": 500.0,
        "decoder": {"num_hidden_layers": 3, "dynamic_multimask_via_stability": False},
    },
}
FULL_WIDTH: dict[str, Any] = {
    "hidden": 256,
    "wide": 2048,
    "memory_attention_num_layers": 4,
    "memory_fuser_intermediate_dim": 1024,
}
WIDTHS = {**SMALL, "full_width": FULL_WIDTH}


class Pair:
    """The reference with its session, and our model with its bank, on the same video."""

    def __init__(self, config: TrackerConfig, num_frames: int, num_objects: int, seed: int) -> None:
        self.config = config
        self.reference, self.ours = build_pair(config, seed)
        self.video = random_video(config, num_frames, seed + 1)
        self.session = start_session(self.reference, self.video, num_objects)
        self.bank = MemoryBank(config, config.grid, max_conditioning_frames=12)
        self.bank.append_rows(num_objects)
        self.num_objects = num_objects
        self.scores: list[Tensor] = []

    def centre_scores(self, masks: Tensor) -> None:
        """Shift object scores so that some are above 0 and some below."""
        with torch.inference_mode():
            frame = self.ours.embed(self.video[0])
            first = self.ours.from_masks(frame, masks)
            maps = self.ours.encode_memory(
                frame, masks * 20 - 10, first.object_score_logits, binarize=True
            )
            bank = MemoryBank(self.config, self.config.grid)
            bank.append_rows(len(masks))
            rows = range(len(masks))
            bank.write(list(rows), 0, maps, first.object_pointers, conditioning=True)
            frame = self.ours.embed(self.video[1])
            scores = self.ours.propagate(frame, bank.gather(1, reverse=False)).object_score_logits
        for model in (self.reference, self.ours):
            with torch.no_grad():
                model.mask_decoder.pred_obj_score_head.proj_out.bias -= scores.mean()

    def step(
        self, frame_index: int, drawn: dict[int, Tensor], *, reverse: bool, free: bool = False
    ) -> tuple[MaskletPrediction, dict[str, Tensor], Tensor]:
        """Both do one frame; ``drawn`` are mask prompts of some objects.

        Returns our prediction, the reference's, and our memory maps.
        """
        for row, mask in drawn.items():
            self.session.add_mask_inputs(row, frame_index, mask[None, None])
        self.session.obj_with_new_inputs = [row + 1 for row in drawn]
        self.reference(self.session, frame_index, reverse=reverse)
        wanted = stored(self.session, frame_index)
        with torch.inference_mode():
            got, maps = self._ours(frame_index, drawn, reverse=reverse)
        assert wanted["maps"].dtype == maps.dtype == torch.bfloat16
        conditioning = [row in drawn for row in range(self.num_objects)]
        for row in range(self.num_objects):
            source = (maps, got.object_pointers)
            if not free:
                source = (wanted["maps"], wanted["object_pointers"])
            self.bank.write(
                [row],
                frame_index,
                source[0][row : row + 1],
                source[1][row : row + 1],
                conditioning=conditioning[row],
            )
        self.scores.append(wanted["object_score_logits"])
        return got, wanted, maps

    def _ours(
        self, frame_index: int, drawn: dict[int, Tensor], *, reverse: bool
    ) -> tuple[MaskletPrediction, Tensor]:
        frame = self.ours.embed(self.video[frame_index])
        parts: list[tuple[list[int], MaskletPrediction, Tensor]] = []
        if drawn:
            masks = torch.stack(list(drawn.values()))
            given = self.ours.from_masks(frame, masks)
            parts.append((list(drawn), given, self.ours.mask_at_image_size(masks) * 20 - 10))
        others = [row for row in range(self.num_objects) if row not in drawn]
        if others:
            memory = self.bank.gather(frame_index, reverse=reverse, rows=others)
            seen = self.ours.propagate(frame, memory)
            parts.append((others, seen, self.ours.logits_at_image_size(seen.low_res_masks)))
        rows = torch.tensor([row for part in parts for row in part[0]])
        order = rows.argsort()
        whole = MaskletPrediction(
            *(
                torch.cat([getattr(part[1], name) for part in parts])[order]
                for name in (
                    "low_res_masks",
                    "iou_scores",
                    "object_score_logits",
                    "object_pointers",
                )
            )
        )
        logits = torch.cat([part[2] for part in parts])[order]
        maps = self.ours.encode_memory(
            frame, logits, whole.object_score_logits, binarize=bool(drawn)
        )
        return whole, maps


def assert_close(got: Tensor, wanted: Tensor, what: str) -> None:
    """Within ``TOLERANCE`` of the range of ``wanted``; logits of absent objects don't count in."""
    assert got.shape == wanted.shape, what
    absent = wanted == NO_OBJECT
    assert torch.equal(got == NO_OBJECT, absent), f"{what}: other objects are absent"
    if absent.all():
        return
    spread = wanted[~absent].max() - wanted[~absent].min()
    error = (got - wanted).abs().max() / spread.clamp(min=1e-3)
    assert error <= TOLERANCE, f"{what}: {error:.2e} of its range"


def assert_maps_close(got: Tensor, wanted: Tensor) -> None:
    """Equal, or neighbours in bfloat16 where float32 sits on the boundary."""
    got, wanted = got.float(), wanted.float()
    spread = wanted.max() - wanted.min()
    step = wanted.abs() * 2.0**-7 + TOLERANCE * spread
    assert ((got - wanted).abs() <= step).all()
    assert (got != wanted).float().mean() < 0.01


def assert_same(got: MaskletPrediction, wanted: dict[str, Tensor], maps: Tensor | None) -> None:
    assert_close(got.low_res_masks, wanted["low_res_masks"], "masks")
    scale = max(1.0, wanted["object_score_logits"].abs().max().item())
    error = (got.object_score_logits - wanted["object_score_logits"]).abs().max().item()
    assert error <= TOLERANCE * scale
    assert_close(got.object_pointers, wanted["object_pointers"], "pointers")
    if maps is not None:
        assert_maps_close(maps, wanted["maps"])


def random_masks(config: TrackerConfig, n: int, seed: int) -> Tensor:
    """(n, image_size, image_size) boxes of different sizes, the last of them empty of corners."""
    generator = torch.Generator().manual_seed(seed)
    side = config.image_size
    masks = torch.zeros(n, side, side)
    for mask in masks:
        x, y = torch.randint(0, side // 2, (2,), generator=generator).tolist()
        w, h = torch.randint(side // 6, side // 2, (2,), generator=generator).tolist()
        mask[y : y + h, x : x + w] = 1
    return masks


def both_signs(scores: list[Tensor]) -> bool:
    flat = torch.cat(scores)
    return bool((flat > 0).any() and (flat < 0).any())


# Which objects get a mask, at which step. Each set is a tail of the objects: the reference turns
# to forward playing for all objects that come after one with a first prompt on a frame.
PROMPTED_STEPS = {0: [0, 1, 2], 3: [2], 5: [1, 2], 8: [2], 9: [1, 2], 13: [2], 17: [0, 1, 2]}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", list(WIDTHS))
def test_propagation(name: str, reverse: bool) -> None:
    config = tracker_config(**WIDTHS[name])
    pair = Pair(config, num_frames=26, num_objects=3, seed=3)
    pair.centre_scores(random_masks(config, 3, 0))
    compared = 0
    for step in range(24):
        frame_index = 25 - step if reverse else step
        masks = random_masks(config, 3, step)
        drawn = {row: masks[row] for row in PROMPTED_STEPS.get(step, [])}
        assert_same(*pair.step(frame_index, drawn, reverse=reverse))
        compared += 3 - len(drawn)
    assert compared > 50
    assert both_signs([s[s.abs() < 9.9] for s in pair.scores])


def test_masks_of_another_size() -> None:
    config = tracker_config()
    pair = Pair(config, num_frames=16, num_objects=3, seed=7)
    masks = torch.stack([m[:30, :50] for m in random_masks(config, 3, 1)])
    masks[1] = 0  # an empty mask: the object isn't there
    got, wanted, maps = pair.step(0, dict(enumerate(masks)), reverse=False)
    assert_same(got, wanted, maps)
    assert got.object_score_logits.tolist() == [10, -10, 10]


CLICKS = {
    "one": ([[[20.0, 31.5]]], [[1]]),
    "three_with_negative": ([[[20.0, 31.5], [50.0, 60.0], [3.0, 70.25]]], [[1, 0, 1]]),
    "padded": ([[[20.0, 31.5], [-10.0, -10.0]]], [[1, -10]]),
    "none_among_them": ([[[20.0, 31.5], [5.0, 5.0]]], [[0, -1]]),
}
BOX = [[10.5, 12.0, 60.0, 44.0]]


def reference_answer(
    reference: Sam3TrackerVideoModel,
    session: Sam3TrackerVideoInferenceSession,
    frame_index: int,
    points: Tensor | None,
    labels: Tensor | None,
    **options: Any,
) -> dict[str, Tensor]:
    """One object's answer on one frame, without storing it."""
    clicks = None
    if points is not None and labels is not None:
        clicks = {"point_coords": points[None], "point_labels": labels[None].int()}
    with torch.inference_mode():
        out = reference._run_single_frame_inference(
            inference_session=session,
            frame_idx=frame_index,
            obj_idx=0,
            batch_size=1,
            point_inputs=clicks,
            mask_inputs=None,
            reverse=False,
            **options,
        )
    return {
        "low_res_masks": out["pred_masks"][0],
        "object_score_logits": out["object_score_logits"].reshape(1),
        "object_pointers": out["object_pointer"].reshape(1, -1),
    }


def with_box(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How the reference's processor puts a box before points."""
    corners = torch.tensor(BOX).reshape(1, 2, 2)
    return torch.cat((corners, points), 1), torch.cat((torch.tensor([[2, 3]]), labels), 1)


def tracked_pair(name: str, seed: int) -> tuple[Pair, FrameEmbedding]:
    """A pair that has tracked one object for three frames, and the fourth frame."""
    config = tracker_config(**WIDTHS[name])
    pair = Pair(config, num_frames=16, num_objects=1, seed=seed)
    pair.step(0, {0: random_masks(config, 1, 2)[0]}, reverse=False)
    pair.step(1, {}, reverse=False)
    pair.step(2, {}, reverse=False)
    return pair, pair.ours.embed(pair.video[3])


@pytest.mark.parametrize("remembers", [False, True], ids=["first_frame", "refined"])
@pytest.mark.parametrize("name", list(WIDTHS))
def test_clicks_and_boxes(name: str, remembers: bool) -> None:
    pair, frame = tracked_pair(name, seed=11)
    scores = []
    for shift in (0.0, -4.0, 8.0):
        for model in (pair.reference, pair.ours):
            with torch.no_grad():
                model.mask_decoder.pred_obj_score_head.proj_out.bias += shift
        for raw_points, raw_labels in CLICKS.values():
            for boxed in (False, True):
                points, labels = torch.tensor(raw_points), torch.tensor(raw_labels)
                theirs = with_box(points, labels) if boxed else (points, labels)
                wanted = reference_answer(
                    pair.reference, pair.session, 3, *theirs, is_init_cond_frame=not remembers
                )
                with torch.inference_mode():
                    got = pair.ours.prompt(
                        frame,
                        points=points,
                        point_labels=labels,
                        boxes=torch.tensor(BOX) if boxed else None,
                        memory=pair.bank.gather(3, reverse=False) if remembers else None,
                    )
                assert_same(got, wanted, None)
                scores.append(wanted["object_score_logits"])
    assert both_signs(scores)


@pytest.mark.parametrize("name", list(WIDTHS))
def test_box_alone(name: str) -> None:
    pair, frame = tracked_pair(name, seed=13)
    theirs = with_box(torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int64))
    wanted = reference_answer(pair.reference, pair.session, 3, *theirs, is_init_cond_frame=True)
    with torch.inference_mode():
        got = pair.ours.prompt(frame, boxes=torch.tensor(BOX), memory=None)
    assert_same(got, wanted, None)


@pytest.mark.parametrize("name", list(WIDTHS))
def test_proposals_for_a_single_picture(name: str) -> None:
    pair, frame = tracked_pair(name, seed=19)
    decoded: list[Any] = []
    pair.reference.mask_decoder.register_forward_hook(
        lambda module, arguments, output: decoded.append(output)
    )
    for several, points, labels in (
        (True, [[[20.0, 31.5]]], [[1]]),
        (False, [[[20.0, 31.5], [40.0, 12.0]]], [[1, 0]]),
    ):
        clicks = {"points": torch.tensor(points), "point_labels": torch.tensor(labels)}
        reference_answer(pair.reference, pair.session, 3, *clicks.values(), is_init_cond_frame=True)
        with torch.inference_mode():
            masks, scores = pair.ours.propose(frame, **clicks, several=several)
        wanted_masks, wanted_scores = decoded[-1][0][0], decoded[-1][1][0]
        assert masks.shape[1] == (3 if several else 1)
        assert_close(masks, wanted_masks, "masks")
        # They lie in [0, 1].
        torch.testing.assert_close(scores, wanted_scores, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("clicked", [False, True], ids=["mask_only", "mask_and_click"])
@pytest.mark.parametrize("name", list(WIDTHS))
def test_correcting_an_earlier_mask(name: str, clicked: bool) -> None:
    pair, frame = tracked_pair(name, seed=17)
    earlier = 6 * torch.randn(1, *pair.config.mask_size)
    points = torch.tensor([[[20.0, 31.5], [40.0, 12.0]]]) if clicked else None
    labels = torch.tensor([[1, 0]]) if clicked else None
    wanted = reference_answer(
        pair.reference,
        pair.session,
        3,
        points,
        labels,
        is_init_cond_frame=True,
        prev_sam_mask_logits=earlier[:, None],
    )
    with torch.inference_mode():
        got = pair.ours.prompt(
            frame, points=points, point_labels=labels, mask_logits=earlier, memory=None
        )
    assert_same(got, wanted, None)


def test_clicked_memory_is_binarised() -> None:
    config = tracker_config()
    pair = Pair(config, num_frames=16, num_objects=2, seed=19)
    points = torch.tensor([[[20.0, 31.5]], [[60.0, 50.0]]])
    labels = torch.tensor([[1], [1]])
    for row in range(2):
        clicks = {"point_coords": points[None, row : row + 1], "point_labels": labels[None, [row]]}
        pair.session.add_point_inputs(row, 0, clicks)
    pair.session.obj_with_new_inputs = [1, 2]
    pair.reference(pair.session, 0)
    wanted = stored(pair.session, 0)
    with torch.inference_mode():
        frame = pair.ours.embed(pair.video[0])
        got = pair.ours.prompt(frame, points=points, point_labels=labels, memory=None)
        logits = pair.ours.logits_at_image_size(got.low_res_masks)
        maps = pair.ours.encode_memory(frame, logits, got.object_score_logits, binarize=True)
    assert_same(got, wanted, maps)


def test_on_its_own_it_stays_with_the_reference() -> None:
    """No memory is handed over: rounding drifts apart a little, the masks don't."""
    config = tracker_config()
    pair = Pair(config, num_frames=24, num_objects=3, seed=3)
    masks = random_masks(config, 3, 0)
    agreed, total = 0, 0
    for frame_index in range(24):
        drawn = dict(enumerate(masks)) if frame_index == 0 else {}
        got, wanted, _ = pair.step(frame_index, drawn, reverse=False, free=True)
        same = (got.low_res_masks > 0) == (wanted["low_res_masks"] > 0)
        agreed, total = agreed + int(same.sum()), total + same.numel()
        assert (got.low_res_masks - wanted["low_res_masks"]).abs().max() < 0.1
    assert agreed / total > 0.998


def test_a_reference_configuration_survives_both_ways() -> None:
    for changes in (*SMALL.values(), FULL_WIDTH):
        config = tracker_config(**changes)
        theirs = Sam3TrackerVideoModel.config_class(**config.to_dict())
        assert theirs.vision_config.backbone_feature_sizes[-1] == list(config.grid)
        assert TrackerConfig.from_dict(theirs.to_dict()) == config


def test_the_reference_defaults_are_ours() -> None:
    theirs = Sam3TrackerVideoModel.config_class()
    assert TrackerConfig.from_dict(theirs.to_dict()) == TrackerConfig()
    with torch.device("meta"):
        reference = Sam3TrackerVideoModel(theirs, remove_vision_encoder=True)
        ours = TrackerModel(TrackerConfig())
    names = {name: tuple(x.shape) for name, x in reference.state_dict().items()}
    assert {name: tuple(x.shape) for name, x in ours.state_dict().items()} == names


def test_short_videos_reach_back_less() -> None:
    """With fewer frames than pointers in reach, the reference scales offsets by the video."""
    config = tracker_config()
    pair = Pair(config, num_frames=5, num_objects=1, seed=23)
    for frame_index in range(3):
        drawn = {0: random_masks(config, 1, 2)[0]} if frame_index == 0 else {}
        pair.step(frame_index, drawn, reverse=False)
    wanted = reference_answer(pair.reference, pair.session, 3, None, None, is_init_cond_frame=False)
    frame = pair.ours.embed(pair.video[3])
    with torch.inference_mode():
        short = pair.bank.gather(3, reverse=False, num_frames=5)
        assert_same(pair.ours.propagate(frame, short), wanted, None)
        long = pair.ours.propagate(frame, pair.bank.gather(3, reverse=False))
    difference = (long.object_score_logits - wanted["object_score_logits"]).abs().max()
    assert difference > 10 * TOLERANCE


def test_gradients_flow_and_agree(recwarn: pytest.WarningsRecorder) -> None:
    """The path for training (no blocks, no oneDNN) gives what the path for inference gives."""
    config = tracker_config()
    pair = Pair(config, num_frames=16, num_objects=3, seed=29)
    pair.step(0, dict(enumerate(random_masks(config, 3, 0))), reverse=False)
    *_, maps = pair.step(1, {2: random_masks(config, 3, 1)[2]}, reverse=False)
    pair.bank.append_rows(1)  # a newcomer with a shorter memory
    pointer = torch.randn(1, config.fpn_hidden_size)
    pair.bank.write([3], 1, maps[:1], pointer, conditioning=True)
    memory = pair.bank.gather(2, reverse=False)
    assert not memory.full
    features: TrackerFeatures = pair.video[2]
    model: TrackerModel = pair.ours
    trained = model.propagate(model.embed(features), memory)
    with torch.inference_mode():
        inferred = model.propagate(model.embed(features), memory)
    assert_close(trained.low_res_masks.detach(), inferred.low_res_masks, "masks")
    assert_close(trained.object_pointers.detach(), inferred.object_pointers, "pointers")
    trained.low_res_masks.sum().backward()
    gradient = model.memory_attention.layers[0].cross_attn_image.k_proj.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert not recwarn.list
