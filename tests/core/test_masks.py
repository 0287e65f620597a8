"""Mask arithmetic against plain loops, scipy, and transformers' own functions."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from maskstream.core.masks import (
    HOLE_LOGIT,
    SPECK_LOGIT,
    boxes_from_masks,
    fill_holes_and_specks,
    group_index,
    mask_iou,
    mask_nms,
    non_overlapping,
)
from tests.parity.reference import video_model_class

# Where there is another device, its branches are tested too.
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

seeds = st.integers(0, 2**32 - 1)


def reference() -> Any:
    """transformers' module of the video loop."""
    return importlib.import_module(video_model_class().__module__)


def rectangles(rng: np.random.Generator, count: int, height: int, width: int) -> Tensor:
    """(count, height, width) bool; some are empty."""
    masks = np.zeros((count, height, width), np.bool_)
    for mask in masks:
        y0, y1 = np.sort(rng.integers(0, height + 1, 2))
        x0, x1 = np.sort(rng.integers(0, width + 1, 2))
        mask[y0:y1, x0:x1] = True
    return torch.from_numpy(masks)


# --- overlap --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(seeds)
def test_iou_by_counting_and_as_transformers_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rectangles(rng, int(rng.integers(0, 5)), 7, 9)
    b = rectangles(rng, int(rng.integers(0, 5)), 7, 9)
    iou = mask_iou(a, b)
    assert iou.shape == (len(a), len(b))
    assert iou.dtype == torch.float32
    for row, mask_a in enumerate(a):
        for column, mask_b in enumerate(b):
            common = int((mask_a & mask_b).sum())
            either = int((mask_a | mask_b).sum())
            expected = torch.tensor(common / either if either else 0.0)
            assert iou[row, column] == expected
    if len(a) and len(b):
        assert torch.equal(iou, reference().mask_iou(a, b))


def test_iou_of_a_set_with_itself() -> None:
    masks = rectangles(np.random.default_rng(0), 6, 8, 8)
    masks[2] = False
    iou = mask_iou(masks, masks)
    assert torch.equal(iou, mask_iou(masks, masks.clone()))
    assert torch.equal(iou.diagonal(), masks.flatten(1).any(1).float())


def test_iou_stays_exact_under_autocast() -> None:
    """300 pixels in common of 303: bfloat16 has no such numbers."""
    a = torch.zeros(1, 20, 20, dtype=torch.bool)
    a.view(-1)[:301] = True
    b = torch.zeros(1, 20, 20, dtype=torch.bool)
    b.view(-1)[1:303] = True
    with torch.autocast("cpu", dtype=torch.bfloat16):
        iou = mask_iou(a, b)
    assert iou.item() == pytest.approx(300 / 303, abs=1e-7)


# --- suppression ----------------------------------------------------------------------------------


def nms_by_definition(
    masks: Tensor, scores: Tensor, threshold: float, prompt_ids: list[int]
) -> list[bool]:
    too_close = (mask_iou(masks, masks) > threshold).tolist()
    ranks = (-scores).tolist()
    kept: list[int] = []
    for index in sorted(range(len(masks)), key=lambda i: (ranks[i], i)):
        if all(
            prompt_ids[index] != prompt_ids[other] or not too_close[index][other] for other in kept
        ):
            kept.append(index)
    return [index in kept for index in range(len(masks))]


@settings(max_examples=40)
@given(seeds)
def test_nms_as_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 14))
    masks = rectangles(rng, count, 6, 6)
    scores = torch.from_numpy(rng.integers(0, 6, count)) / 5.0  # ties occur
    prompts = rng.integers(0, 2, count).tolist()
    threshold = float(rng.choice([0.05, 0.25, 0.5]))
    keep = mask_nms(masks, scores, threshold, torch.tensor(prompts, dtype=torch.int64))
    assert keep.dtype == torch.bool
    assert keep.tolist() == nms_by_definition(masks, scores, threshold, prompts)
    one_prompt = mask_nms(masks, scores, threshold)
    assert one_prompt.tolist() == nms_by_definition(masks, scores, threshold, [0] * count)


def strip(*spans: tuple[int, int]) -> Tensor:
    masks = torch.zeros(len(spans), 1, 40, dtype=torch.bool)
    for mask, (first, last) in zip(masks, spans, strict=True):
        mask[0, first:last] = True
    return masks


def test_what_a_dropped_mask_overlaps_is_kept() -> None:
    """A chain: each overlaps its neighbours only, so every second one goes."""
    masks = strip(*[(4 * i, 4 * i + 7) for i in range(8)])
    scores = torch.linspace(0.9, 0.1, 8)
    assert mask_nms(masks, scores, 0.2).tolist() == [True, False] * 4
    assert mask_nms(masks, scores.flip(0), 0.2).tolist() == [False, True] * 4


def test_overlap_of_exactly_the_threshold_is_allowed() -> None:
    masks = strip((0, 3), (2, 4))  # IoU 1/4
    scores = torch.tensor([0.5, 0.9])
    assert mask_nms(masks, scores, 0.25).tolist() == [True, True]
    assert mask_nms(masks, scores, 0.2499).tolist() == [False, True]


def test_empty_masks_suppress_nothing() -> None:
    masks = strip((0, 0), (0, 0), (0, 5))
    assert mask_nms(masks, torch.tensor([0.9, 0.8, 0.7]), 0.0).all()


# --- holes and specks -----------------------------------------------------------------------------


def with_scipy_components(monkeypatch: pytest.MonkeyPatch) -> Any:
    """transformers' module with scipy in place of the kernel that it would download."""

    def cc_2d(masks: Tensor, get_counts: bool) -> tuple[Tensor, Tensor]:
        labels, areas = [], []
        for mask in masks[:, 0].numpy():
            found, count = ndimage.label(mask, structure=np.ones((3, 3)))
            sizes = np.bincount(found.ravel(), minlength=count + 1)
            sizes[0] = 0
            labels.append(found)
            areas.append(sizes[found])
        pair = (torch.from_numpy(np.stack(x)[:, None]).int() for x in (labels, areas))
        return next(pair), next(pair)

    module = reference()
    monkeypatch.setattr(module, "_load_cv_utils_kernel_once", lambda: None)
    monkeypatch.setattr(module, "cv_utils_kernel", SimpleNamespace(cc_2d=cc_2d))
    return module


def blobs(seed: int, count: int, height: int, width: int) -> Tensor:
    """(count, height, width) logits with parts of all sizes."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, height, width))
    smooth = [ndimage.gaussian_filter(n, rng.uniform(0.4, 1.6)) for n in noise]
    shift = rng.uniform(-0.1, 0.1, (count, 1, 1))
    return torch.from_numpy((np.stack(smooth) * 5 + shift).astype(np.float32))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("max_area", [1, 4, 16, 200])
@pytest.mark.parametrize("size", [(24, 24), (17, 30), (33, 21), (1, 40), (2, 2), (1, 1)])
def test_holes_and_specks_as_transformers_does(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], max_area: int, device: str
) -> None:
    module = with_scipy_components(monkeypatch)
    masks = blobs(sum(size) + max_area, 6, *size)
    masks[1] = masks[1].abs() + 0.1
    masks[2] = -masks[2].abs()
    masks[3] = 0
    expected = module.fill_holes_in_mask_scores(masks[:, None], max_area)[:, 0]
    cleaned = fill_holes_and_specks(masks.to(device), max_area).cpu()
    assert cleaned.dtype == torch.float32
    assert torch.equal(cleaned, expected)
    if min(size) > 16 and max_area < 200:
        assert (cleaned == torch.tensor(HOLE_LOGIT)).any()
        assert (cleaned == torch.tensor(SPECK_LOGIT)).any()


def logits_of(*rows: str) -> Tensor:
    return torch.tensor([[3.0 if letter == "#" else -3.0 for letter in row] for row in rows])


@pytest.mark.parametrize("device", DEVICES)
def test_hole_is_just_inside_and_speck_just_outside(device: str) -> None:
    mask = logits_of(
        "#####......#",
        "#...#.......",
        "#...#.......",
        "#####.......",
        "............",
    )
    kept = fill_holes_and_specks(mask[None].to(device), 5)[0].cpu()
    assert kept[1, 2] == -3.0, "a hole of 6 is larger than 5"
    filled = fill_holes_and_specks(mask[None].to(device), 6)[0].cpu()
    expected = mask.clone()
    expected[1:3, 1:4] = HOLE_LOGIT
    expected[0, 11] = SPECK_LOGIT
    assert torch.equal(filled, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_largest_part_of_a_tiny_mask_survives(device: str) -> None:
    """Five pixels: parts of up to two go, the one of three does not."""
    mask = logits_of("###......", ".........", "......##.", ".........")
    cleaned = fill_holes_and_specks(mask[None].to(device), 10)[0].cpu()
    assert (cleaned > 0).nonzero().tolist() == [[0, 0], [0, 1], [0, 2]]
    assert torch.equal(fill_holes_and_specks(mask[None, :2].to(device), 10)[0].cpu(), mask[:2])


@pytest.mark.parametrize("device", DEVICES)
def test_filled_hole_counts_for_the_area_of_its_mask(device: str) -> None:
    """A ring of eight around a hole, and a speck of four: half of 8 + 1 + 4 allows it, and only
    a limit of min(4, 6) is seen when the hole is filled first."""
    mask = logits_of(
        "###.......", "#.#.......", "###.......", "..........", ".......##.", ".......##."
    )
    cleaned = fill_holes_and_specks(mask[None].to(device), 4)[0].cpu()
    assert cleaned[1, 1] == torch.tensor(HOLE_LOGIT)
    assert (cleaned[4:, 7:9] == SPECK_LOGIT).all()
    assert (cleaned > 0).sum() == 9


def test_filled_hole_joins_parts() -> None:
    """The four corners' parts are one once the hole between them is filled."""
    mask = logits_of("##.##", "#...#", "##.##")
    wide = torch.full((9, 11), 3.0)
    wide[3:6, 3:8] = mask
    cleaned = fill_holes_and_specks(wide[None], 5)
    assert (cleaned > 0).all()


@pytest.mark.parametrize("max_area", [0, -3])
def test_no_area_changes_nothing(max_area: int) -> None:
    masks = blobs(1, 2, 9, 9)
    assert fill_holes_and_specks(masks, max_area) is masks


def test_input_is_left_alone_and_given_back_where_nothing_changes() -> None:
    masks = blobs(2, 3, 30, 30)
    before = masks.clone()
    cleaned = fill_holes_and_specks(masks, 8)
    assert torch.equal(masks, before)
    assert not torch.equal(cleaned, before)
    whole = torch.ones(2, 30, 30)
    assert fill_holes_and_specks(whole, 8) is whole
    none = torch.zeros(0, 30, 30)
    assert fill_holes_and_specks(none, 8) is none


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_dtypes_and_strides(dtype: torch.dtype) -> None:
    masks = blobs(3, 3, 20, 26).to(dtype)
    expected = fill_holes_and_specks(masks.float(), 8).to(dtype)
    assert fill_holes_and_specks(masks, 8).dtype == dtype
    assert torch.equal(fill_holes_and_specks(masks, 8), expected)
    turned = masks.mT.contiguous().mT
    assert not turned.is_contiguous()
    assert torch.equal(fill_holes_and_specks(turned, 8), expected)


# --- boxes ----------------------------------------------------------------------------------------


def box_by_definition(mask: NDArray[np.bool_]) -> list[float]:
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return [0.0, 0.0, 0.0, 0.0]
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@settings(max_examples=40)
@given(seeds)
def test_boxes_by_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    masks = rng.random(shape) < rng.choice([0.02, 0.1, 0.9])
    boxes = boxes_from_masks(torch.from_numpy(masks))
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [box_by_definition(mask) for mask in masks]


def test_boxes_of_one_pixel_of_all_and_of_nothing() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 3, 5] = True
    masks[1] = True
    assert boxes_from_masks(masks).tolist() == [[5, 3, 6, 4], [0, 0, 6, 4], [0, 0, 0, 0]]
    assert boxes_from_masks(masks[:0]).shape == (0, 4)
    assert boxes_from_masks(masks[:, :0]).tolist() == [[0, 0, 0, 0]] * 3


# --- groups ---------------------------------------------------------------------------------------


def test_groups_are_numbered_from_0() -> None:
    index, counts = group_index(torch.tensor([7, -1, 7, 40, -1, 7]))
    assert counts.tolist() == [2, 3, 1]
    assert index.tolist() == [1, 0, 1, 2, 0, 1]
    index, counts = group_index(torch.zeros(0, dtype=torch.int64))
    assert index.shape == counts.shape == (0,)


def separate_by_definition(logits: NDArray[np.float32], groups: list[int]) -> NDArray[np.bool_]:
    out = np.zeros(logits.shape, dtype=np.bool_)
    for y in range(logits.shape[1]):
        for x in range(logits.shape[2]):
            for group in set(groups):
                rows = [row for row, g in enumerate(groups) if g == group]
                best = max(rows, key=lambda row: (logits[row, y, x], -row))
                out[best, y, x] = logits[best, y, x] > 0
    return out


@settings(max_examples=40)
@given(seeds)
def test_each_pixel_goes_to_the_highest_of_its_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    logits = rng.integers(-2, 4, (count, 4, 5)).astype(np.float32)  # ties occur
    groups = np.unique(rng.integers(0, 3, count), return_inverse=True)[1].tolist()
    won = non_overlapping(torch.from_numpy(logits), torch.tensor(groups), max(groups) + 1)
    assert won.dtype == torch.bool
    assert (won.numpy() == separate_by_definition(logits, groups)).all()


def test_no_masks_to_separate() -> None:
    won = non_overlapping(torch.zeros(0, 4, 5), torch.zeros(0, dtype=torch.int64), 0)
    assert won.shape == (0, 4, 5)
