"""How well phrases are answered: cgF1 and its parts, AP, presence.

The unit is an image together with a phrase. A phrase may be true of no object, of one or of many.
The definitions are those of the benchmark SA-Co ("SAM 3: Segment Anything with Concepts", 2025,
arXiv 2511.16719, section on metrics), with one truth instead of several annotators'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval
from hotcoco import mask as coco_mask
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from maskstream.core.rle import Rle, encode_masks

IOU_THRESHOLDS: NDArray[np.float64] = np.round(np.arange(0.5, 1.0, 0.05), 2)
"""0.5, 0.55, … 0.95, as COCO's."""
MOSTLY = 0.5
"""A mask that lies on a region to this share of its area belongs to the region."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one phrase in one image, and what should have been.

    Attributes:
        scores: (D,) float64 in [0, 1].
        ious: (D, G) float64, overlap of what was found with the truth.
        found: D masks.
        truth: G masks; none where the phrase is true of nothing in the image.
    """

    scores: NDArray[np.float64]
    ious: NDArray[np.float64]
    found: list[Rle]
    truth: list[Rle]

    @property
    def present(self) -> bool:
        """Whether the phrase is true of something in the image."""
        return bool(self.truth)

    def overlaps_above(self, score_threshold: float) -> NDArray[np.float64]:
        """The rows of ``ious`` with at least this score."""
        rows: NDArray[np.float64] = self.ious[self.scores >= score_threshold]
        return rows


@dataclass(frozen=True, slots=True)
class ConceptQuality:
    """Quality over many answers.

    Attributes:
        num_present, num_absent: phrases that were true of something, and of nothing.
        cgf1: classification-gated F1, 100 × ``pmf1`` × ``mcc``, at most 100.
        pmf1: positive micro-F1 in [0, 1], mean over ``IOU_THRESHOLDS``.
        pmf1_50: the same at IoU 0.5 alone.
        mcc: Matthews correlation of "something found" with "something there", in [-1, 1].
        presence_accuracy: share of phrases of which it was rightly said whether they are true.
        false_alarms: share of the absent phrases for which something was found.
        misses: share of the present phrases for which nothing was found.
    """

    num_present: int
    num_absent: int
    cgf1: float
    pmf1: float
    pmf1_50: float
    mcc: float
    presence_accuracy: float
    false_alarms: float
    misses: float


def overlap(
    masks_a: NDArray[np.bool_], masks_b: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU of all pairs, and the share of each of the first masks that lies on each of the second.

    Args:
        masks_a: (N, H, W).
        masks_b: (M, H, W).

    Returns:
        Both (N, M); 0 where nothing is covered.
    """
    a_NP = masks_a.reshape(len(masks_a), math.prod(masks_a.shape[1:])).astype(np.float32)
    b_MP = masks_b.reshape(len(masks_b), math.prod(masks_b.shape[1:])).astype(np.float32)
    both = (a_NP @ b_MP.T).astype(np.float64)
    area_a, area_b = a_NP.sum(1, dtype=np.float64)[:, None], b_MP.sum(1, dtype=np.float64)[None]
    iou = both / np.maximum(area_a + area_b - both, 1.0)
    return iou, both / np.maximum(area_a, 1.0)


def counting(
    masks: NDArray[np.bool_], truth: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which masks count: those that do not lie mostly on something to be ignored.

    Args:
        masks: (D, H, W).
        truth: (G, H, W), given precedence: a mask that overlaps it enough always counts.
        ignored: (M, H, W), objects of the concept that are seen too little to be asked for.

    Returns:
        (D,). Empty masks do not count.
    """
    counts = np.asarray(masks.any(axis=(1, 2)))
    if len(ignored):
        region = np.asarray(ignored.any(axis=0))[None]
        on_ignored = overlap(masks, region)[1][:, 0] >= MOSTLY
        on_truth = (overlap(masks, truth)[0] >= MOSTLY).any(axis=1)
        counts &= on_truth | ~on_ignored
    return counts


def judge(
    masks: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    truth: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
) -> Answer:
    """Compare (D, H, W) masks and their (D,) scores with (G, H, W) masks; see :func:`counting`."""
    rows = counting(masks, truth, ignored)
    masks = masks[rows]
    return Answer(
        scores=np.asarray(scores, np.float64)[rows],
        ious=overlap(masks, truth)[0],
        found=encode_masks(masks),
        truth=encode_masks(truth),
    )


def matched(ious: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoUs of the pairs of the one-to-one matching whose IoUs have the largest sum."""
    rows, columns = linear_sum_assignment(ious, maximize=True)
    pairs: NDArray[np.float64] = ious[rows, columns]
    return pairs


def positive_micro_f1(answers: Sequence[Answer], score_threshold: float) -> NDArray[np.float64]:
    """F1 = 2 TP / (2 TP + FP + FN) at each of ``IOU_THRESHOLDS``, counted over present phrases.

    Found and true masks are matched one to one for the largest sum of IoUs; a pair whose IoU
    reaches the threshold is a true positive, all that is left over is wrong. Counts are summed
    over all phrases before the ratio is taken (micro). What is found for absent phrases is not
    counted here: that is for :func:`matthews`.

    Returns:
        (10,); 0 where there are no present phrases.
    """
    hits = np.zeros(len(IOU_THRESHOLDS))
    total = 0  # of found and true masks, that is 2 TP + FP + FN
    for answer in answers:
        if answer.present:
            ious = answer.overlaps_above(score_threshold)
            hits += (matched(ious)[:, None] >= IOU_THRESHOLDS).sum(0)
            total += sum(ious.shape)
    return 2 * hits / max(total, 1)


def matthews(tp: int, fp: int, tn: int, fn: int) -> float:
    """Matthews correlation coefficient of a yes-no question; 0 where a margin is empty."""
    margins = math.prod((tp + fp, tp + fn, tn + fp, tn + fn))
    return (tp * tn - fp * fn) / math.sqrt(margins) if margins else 0.0


def concept_quality(answers: Sequence[Answer], score_threshold: float) -> ConceptQuality:
    """All figures at one score threshold."""
    said = np.asarray([bool((a.scores >= score_threshold).any()) for a in answers], np.bool_)
    there = np.asarray([a.present for a in answers], np.bool_)
    tp, fn = int((said & there).sum()), int((~said & there).sum())
    fp, tn = int((said & ~there).sum()), int((~said & ~there).sum())
    f1 = positive_micro_f1(answers, score_threshold)
    mcc = matthews(tp, fp, tn, fn)
    return ConceptQuality(
        num_present=tp + fn,
        num_absent=fp + tn,
        cgf1=100.0 * float(f1.mean()) * mcc,
        pmf1=float(f1.mean()),
        pmf1_50=float(f1[0]),
        mcc=mcc,
        presence_accuracy=(tp + tn) / max(len(answers), 1),
        false_alarms=fp / max(fp + tn, 1),
        misses=fn / max(tp + fn, 1),
    )


def average_precision(answers: Sequence[Answer]) -> tuple[float, float]:
    """COCO's mask AP and AP at IoU 0.5, in [0, 1].

    Every image with its phrase is an image of its own and all phrases are one category, as in
    SA-Co: what is found for an absent phrase is a false positive.

    Returns:
        NaN twice where there is nothing to find.
    """
    if not any(answer.present for answer in answers):
        return math.nan, math.nan
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1}]}
    dataset["categories"][0]["name"] = "object"
    found = []
    for number, answer in enumerate(answers, start=1):
        codes = answer.truth or answer.found
        height, width = codes[0]["size"] if codes else (1, 1)
        dataset["images"].append({"id": number, "height": height, "width": width})
        for code in answer.truth:
            identity = len(dataset["annotations"]) + 1
            dataset["annotations"].append({"id": identity, "iscrowd": 0, **_entry(number, code)})
        for code, score in zip(answer.found, answer.scores.tolist(), strict=True):
            found.append({"score": score, **_entry(number, code)})
    if not found:
        return 0.0, 0.0
    truth = COCO(dataset)
    evaluation = COCOeval(truth, truth.load_res(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    # IoU thresholds × recalls × one category × areas (all, …) × detections an image (…, 100)
    outcome: Any = evaluation.eval
    precision = np.asarray(outcome["precision"])[:, :, 0, 0, -1]
    return float(precision.mean()), float(precision[0].mean())


def _entry(image_id: int, code: Rle) -> dict[str, Any]:
    """One mask as COCO lists it."""
    counts = {"size": code["size"], "counts": code["counts"].encode("ascii")}
    return {
        "image_id": image_id,
        "category_id": 1,
        "segmentation": code,
        "area": float(coco_mask.area(counts)),
        "bbox": [float(x) for x in coco_mask.to_bbox(counts)],
    }
