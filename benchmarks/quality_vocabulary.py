"""Quality against vocabulary: how much of what bears a name is found by it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.quality_concepts import matched
from benchmarks.quality_images import Asked
from training.names import KINDS

HIT_IOU = 0.5
BARS = (0.9, 0.8, 0.5)
NUM_SHOWN = 10


@dataclass(slots=True)
class NameRecord:
    """What became of a kind's plain names.

    Attributes:
        objects: by language, how many objects there were to find.
        found: by language, how many were found at IoU 0.5.
        absent: questions for the kind in pictures without it.
        alarms: those of them for which something was found.
    """

    objects: dict[str, int] = field(default_factory=lambda: {"English": 0, "Chinese": 0})
    found: dict[str, int] = field(default_factory=lambda: {"English": 0, "Chinese": 0})
    absent: int = 0
    alarms: int = 0

    @property
    def recall(self) -> float:
        """Share of the objects that were found, both languages together."""
        return sum(self.found.values()) / max(sum(self.objects.values()), 1)


def records_of_names(asked: Iterable[Asked], score_threshold: float) -> dict[int, NameRecord]:
    """By the number of the kind, for all kinds that were asked for by a plain name."""
    records: dict[int, NameRecord] = {}
    for one in asked:
        if one.question.kind < 0:
            continue
        record = records.setdefault(one.question.kind, NameRecord())
        ious = one.answer.overlaps_above(score_threshold)
        if one.answer.present:
            record.objects[one.question.language] += ious.shape[1]
            record.found[one.question.language] += int((matched(ious) >= HIT_IOU).sum())
        else:
            record.absent += 1
            record.alarms += len(ious) > 0
    return records


def ranked(records: dict[int, NameRecord]) -> list[tuple[int, NameRecord]]:
    """Kinds that were there to find, the best found first."""
    seen = [(kind, record) for kind, record in records.items() if sum(record.objects.values())]
    return sorted(seen, key=lambda pair: (-pair[1].recall, pair[0]))


def curve(order: Sequence[tuple[int, NameRecord]]) -> list[dict[str, Any]]:
    """How many names are found how well: of the best n, recall on average and of the last."""
    recalls = [record.recall for _, record in order]
    counts = [n for n in (25, 50, 100, 150, 200, 250, 300, 350, 400, 450) if n < len(recalls)]
    return [
        {
            "best_names": count,
            "mean_recall": round(sum(recalls[:count]) / count, 3),
            "recall_of_the_last": round(recalls[count - 1], 3),
        }
        for count in (*counts, len(recalls))
        if count
    ]


def summary(order: Sequence[tuple[int, NameRecord]]) -> list[dict[str, Any]]:
    """Names in the vocabulary, names tested, and how many of these reach a recall."""
    row: dict[str, Any] = {"names": len(KINDS), "tested": len(order)}
    for bar in BARS:
        row[f"recall_from_{bar}"] = sum(record.recall >= bar for _, record in order)
    return [row]


def best_and_worst(order: Sequence[tuple[int, NameRecord]]) -> list[dict[str, Any]]:
    """The best ten and the worst ten."""
    shown = list(order[:NUM_SHOWN]) + list(order[NUM_SHOWN:][-NUM_SHOWN:])
    return [_row(kind, record) for kind, record in shown]


def write_csv(path: Path, order: Sequence[tuple[int, NameRecord]]) -> None:
    """All names, the best first."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [_row(kind, record) for kind, record in order]
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["name"])
        writer.writeheader()
        writer.writerows(rows)


def _row(kind: int, record: NameRecord) -> dict[str, Any]:
    row: dict[str, Any] = {"name": KINDS[kind].name, "Chinese_name": KINDS[kind].chinese}
    for language, count in record.objects.items():
        share = record.found[language] / count if count else None
        row[f"{language}_objects"] = count
        row[f"{language}_recall"] = None if share is None else round(share, 3)
    return row | {"asked_in_vain": record.absent, "false_alarms": record.alarms}
