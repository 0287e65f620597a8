"""Phrases asked of single pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality_concepts import (
    Answer,
    ConceptQuality,
    average_precision,
    concept_quality,
    judge,
)
from benchmarks.quality_questions import Question, questions
from benchmarks.quality_scenes import featuring, render_seen, unseen_clip
from benchmarks.quality_systems import System
from training.names import KINDS, SHAPES

NUM_OBJECTS = (1, 9)
FLOOR = 0.05
"""Finds below this score are not told; enough for AP, which lives on the higher ones."""
OPERATING_POINTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what came of it."""

    question: Question
    answer: Answer


def ask(system: System, num_images: int) -> Iterator[Asked]:
    """Ask every question of one frame each of so many clips.

    Every emoji is shown on purpose in turn, so that as many pictures as there are kinds test all
    names. The other things are as they come.
    """
    emoji = np.random.default_rng(0).permutation(np.arange(len(SHAPES), len(KINDS)))
    for number in range(num_images):
        rng = np.random.default_rng((number, 1))
        kind = int(emoji[number % len(emoji)])
        spec, row = featuring(unseen_clip(number, NUM_OBJECTS), kind)
        scene = render_seen(spec, row, rng)
        asked = questions(scene, rng, row)
        found = system.find(scene.image, [question.text for question in asked], FLOOR)
        for question, one in zip(asked, found, strict=True):
            truth = scene.truth(question.concept)
            yield Asked(question, judge(one.masks, one.scores, *truth))


def rows_by_language(asked: Sequence[Asked], score_threshold: float) -> list[dict[str, Any]]:
    """All figures, for both languages together and for each."""
    rows = []
    for language in ("both", "English", "Chinese"):
        mine = [a.answer for a in asked if language in ("both", a.question.language)]
        rows.append({"language": language, **_figures(mine, score_threshold)})
    return rows


def rows_by_sort(asked: Sequence[Asked], score_threshold: float) -> list[dict[str, Any]]:
    """What became of each sort of question; F1 of present ones, false alarms on absent ones."""
    rows = []
    for sort in dict.fromkeys(a.question.sort for a in asked):
        mine = [a.answer for a in asked if a.question.sort == sort]
        quality = concept_quality(mine, score_threshold)
        there = quality.num_present > 0
        rows.append(
            {
                "asked for": sort,
                "phrases": len(mine),
                "pmF1": round(quality.pmf1, 3) if there else None,
                "pmF1_at_0.5": round(quality.pmf1_50, 3) if there else None,
                "misses_%": round(100 * quality.misses, 1) if there else None,
                "false_alarms_%": None if there else round(100 * quality.false_alarms, 1),
            }
        )
    return sorted(rows, key=lambda row: row["pmF1"] is None)


def rows_by_threshold(asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What other score thresholds would give."""
    answers = [a.answer for a in asked]
    return [
        {"score_threshold": threshold, **_columns(concept_quality(answers, threshold))}
        for threshold in OPERATING_POINTS
    ]


def _figures(answers: Sequence[Answer], score_threshold: float) -> dict[str, Any]:
    quality = concept_quality(answers, score_threshold)
    # JSON has no NaN.
    ap, ap_50 = (None if math.isnan(v) else round(v, 3) for v in average_precision(answers))
    return {
        "present": quality.num_present,
        "absent": quality.num_absent,
        **_columns(quality),
        "AP": ap,
        "AP_at_0.5": ap_50,
    }


def _columns(quality: ConceptQuality) -> dict[str, float]:
    """What depends on the score threshold."""
    return {
        "cgF1": round(quality.cgf1, 1),
        "pmF1": round(quality.pmf1, 3),
        "MCC": round(quality.mcc, 3),
        "presence_accuracy_%": round(100 * quality.presence_accuracy, 1),
        "false_alarms_%": round(100 * quality.false_alarms, 1),
        "misses_%": round(100 * quality.misses, 1),
    }
