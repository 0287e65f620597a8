"""The figures of the quality benchmark against values worked by hand and against other code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.quality_concepts import (
    Answer,
    average_precision,
    concept_quality,
    judge,
    matched,
    matthews,
    overlap,
    positive_micro_f1,
)
from benchmarks.quality_images import Asked, rows_by_threshold
from benchmarks.quality_questions import Language, Question
from benchmarks.quality_vocabulary import curve, ranked, records_of_names, write_csv
from training.vocabulary import concept_named

Masks = NDArray[np.bool_]


def boxes(*corners: tuple[int, int, int, int]) -> Masks:
    """(N, 20, 30) masks of rectangles x0 y0 x1 y1."""
    masks = np.zeros((len(corners), 20, 30), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def answer(ious: Sequence[Sequence[float]], scores: Sequence[float], num_true: int) -> Answer:
    """An answer of given overlaps; its masks are empty but for their number."""
    codes = judge(boxes(), np.zeros(0), boxes(*[(0, 0, 2, 2)] * num_true), boxes()).truth
    table = np.asarray(ious, np.float64).reshape(len(scores), num_true)
    return Answer(np.asarray(scores, np.float64), table, codes[:1] * len(scores), codes)


# Phrases in pictures


def test_overlap_by_hand() -> None:
    a, b = boxes((0, 0, 10, 10), (20, 0, 30, 10)), boxes((5, 0, 15, 10))
    ious, shares = overlap(a, b)
    assert ious.tolist() == [[pytest.approx(50 / 150)], [0.0]]
    assert shares.tolist() == [[0.5], [0.0]]
    assert overlap(boxes(), b)[0].shape == (0, 1)
    assert overlap(boxes((3, 3, 3, 3)), b)[0].tolist() == [[0.0]]


def test_matthews_by_hand() -> None:
    assert matthews(tp=6, fp=1, tn=3, fn=2) == pytest.approx(16 / math.sqrt(7 * 8 * 4 * 5))
    assert matthews(tp=5, fp=0, tn=5, fn=0) == 1.0
    assert matthews(tp=0, fp=5, tn=0, fn=5) == -1.0
    assert matthews(tp=5, fp=5, tn=0, fn=0) == 0.0  # says yes to everything


def test_matthews_is_the_correlation_of_two_yes_no_columns() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.random(50) < 0.4, rng.random(50) < 0.5
    tp, fp = int((said & true).sum()), int((said & ~true).sum())
    tn, fn = int((~said & ~true).sum()), int((~said & true).sum())
    assert matthews(tp, fp, tn, fn) == pytest.approx(float(np.corrcoef(said, true)[0, 1]))


def test_matching_has_the_largest_sum() -> None:
    assert sorted(matched(np.asarray([[0.9, 0.8], [0.8, 0.1]]))) == [0.8, 0.8]
    rng = np.random.default_rng(1)
    for _ in range(20):
        ious = rng.random((4, 3))
        best = max(
            sum(ious[row, column] for column, row in enumerate(rows))
            for rows in itertools.permutations(range(4), 3)
        )
        assert matched(ious).sum() == pytest.approx(best)


def test_positive_micro_f1_by_hand() -> None:
    answers = [
        answer([[0.92, 0.0], [0.0, 0.62]], [0.9, 0.8], num_true=2),
        answer([[]], [0.99], num_true=0),  # a false alarm: not counted here
    ]
    # Up to 0.60 both are hits, up to 0.90 one of two, at 0.95 none.
    expected = [1.0] * 3 + [0.5] * 6 + [0.0]
    assert positive_micro_f1(answers, 0.5).tolist() == expected
    # Below the score threshold 0.85 one is left: 2·1 / (1 + 2).
    assert positive_micro_f1(answers, 0.85).tolist() == [2 / 3] * 9 + [0.0]
    # A phrase missed altogether adds what there was to find: 2·2 / (2 + 2 + 3).
    missed = [*answers, answer([], [], num_true=3)]
    assert positive_micro_f1(missed, 0.5)[0] == pytest.approx(4 / 7)
    assert positive_micro_f1([], 0.5).tolist() == [0.0] * 10


def test_concept_quality_by_hand() -> None:
    answers = [
        answer([[0.97]], [0.9], num_true=1),
        answer([[0.97]], [0.4], num_true=1),  # below the threshold: a miss
        answer([[]], [0.7], num_true=0),
        answer([], [], num_true=0),
        answer([], [], num_true=0),
    ]
    quality = concept_quality(answers, 0.5)
    assert (quality.num_present, quality.num_absent) == (2, 3)
    assert quality.pmf1 == pytest.approx(2 / 3)  # 2·1 / (1 found + 2 true)
    assert quality.mcc == pytest.approx((1 * 2 - 1 * 1) / math.sqrt(2 * 2 * 3 * 3))
    assert quality.cgf1 == pytest.approx(100 * (2 / 3) * (1 / 6))
    assert quality.presence_accuracy == pytest.approx(3 / 5)
    assert quality.false_alarms == pytest.approx(1 / 3)
    assert quality.misses == pytest.approx(1 / 2)


def test_a_higher_threshold_trades_false_alarms_for_misses() -> None:
    asked = [
        asked_for(0, "English", answer([[0.97]], [0.9], num_true=1)),
        asked_for(0, "English", answer([[0.97]], [0.45], num_true=1)),
        asked_for(0, "Chinese", answer([[]], [0.65], num_true=0)),
        asked_for(0, "Chinese", answer([], [], num_true=0)),
    ]
    rows = {row["score_threshold"]: row for row in rows_by_threshold(asked)}
    at = {score: (row["false_alarms_%"], row["misses_%"]) for score, row in rows.items()}
    assert (at[0.4], at[0.6], at[0.7]) == ((50.0, 0.0), (50.0, 50.0), (0.0, 50.0))
    assert rows[0.7]["cgF1"] == pytest.approx(100 * (2 / 3) * 2 / math.sqrt(12), abs=0.06)


def test_what_lies_on_objects_seen_too_little_does_not_count() -> None:
    truth, ignored = boxes((0, 0, 10, 10)), boxes((12, 0, 22, 10))
    found = boxes((0, 0, 10, 9), (13, 0, 22, 10), (20, 12, 28, 20), (5, 5, 5, 5))
    judged = judge(found, np.asarray([0.9, 0.8, 0.7, 0.6]), truth, ignored)
    assert judged.scores.tolist() == [0.9, 0.7]
    assert judged.ious.tolist() == [[pytest.approx(0.9)], [0.0]]


def test_average_precision_is_that_of_pycocotools() -> None:
    rng = np.random.default_rng(3)
    answers = []
    for _ in range(15):
        count = int(rng.integers(0, 3))
        corners = [(9 * i, 2, 9 * i + 8, 12) for i in range(count)]
        truth = boxes(*corners)
        moved = [(x0, y0, x1, y1 + int(rng.integers(0, 6))) for x0, y0, x1, y1 in corners]
        strays = [(1, 13, 9, 20)] * int(rng.integers(0, 2))
        found = boxes(*moved, *strays)
        answers.append(judge(found, rng.random(len(found)), truth, boxes()))
    assert average_precision(answers) == pytest.approx(ap_of_pycocotools(answers))


def ap_of_pycocotools(answers: list[Answer]) -> tuple[float, float]:
    images, results = [], []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(answers, start=1):
        images.append({"id": number, "height": 20, "width": 30})
        for code in one.truth:
            mask = {"image_id": number, "category_id": 1, "segmentation": code, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "area": 80.0, **mask})
        for code, score in zip(one.found, one.scores.tolist(), strict=True):
            results.append(
                {"image_id": number, "category_id": 1, "segmentation": code, "score": score}
            )
    truth = COCO()
    truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    truth.dataset["info"] = {}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def test_average_precision_of_nothing() -> None:
    there = judge(boxes(), np.zeros(0), boxes((0, 0, 5, 5)), boxes())
    assert average_precision([there]) == (0.0, 0.0)
    assert all(math.isnan(value) for value in average_precision([answer([], [], 0)]))


# Names


def test_names_are_ranked_by_what_was_found() -> None:
    cat, dog, owl = 7, 8, 9
    asked = [
        asked_for(cat, "English", answer([[0.9]], [0.9], 1)),
        asked_for(cat, "Chinese", answer([[0.4]], [0.9], 1)),
        asked_for(dog, "English", answer([[0.7]], [0.9], 1)),
        asked_for(owl, "Chinese", answer([[]], [0.9], 0)),
        asked_for(-1, "English", answer([], [], 1)),
    ]
    records = records_of_names(asked, 0.5)
    assert (records[owl].absent, records[owl].alarms) == (1, 1)
    order = ranked(records)
    assert [(kind, record.recall) for kind, record in order] == [(dog, 1.0), (cat, 0.5)]
    assert order[1][1].found == {"English": 1, "Chinese": 0}
    assert curve(order) == [{"best_names": 2, "mean_recall": 0.75, "recall_of_the_last": 0.5}]


def asked_for(kind: int, language: Language, one: Answer) -> Asked:
    return Asked(Question("", language, "name", concept_named("cat"), kind), one)


def test_no_names_make_an_empty_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "names.csv", [])
    assert (tmp_path / "names.csv").read_text(encoding="utf-8").split() == ["name"]
