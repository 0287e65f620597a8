"""The objects that a run has seen, and the table of them that is printed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from maskstream.pipeline.api.results import FrameResult

_MAX_ROWS = 40


@dataclass(slots=True)
class ObjectSummary:
    """One object over the whole run."""

    obj_id: int
    label: str
    first_frame: int
    last_frame: int
    num_frames: int = 0
    num_scores: int = 0
    total_score: float = 0.0

    @property
    def mean_score(self) -> float | None:
        """The mean of what ``out_probs`` says; None if it never says anything."""
        return self.total_score / self.num_scores if self.num_scores else None


@dataclass(slots=True)
class RunSummary:
    """The objects of a run. Its size depends on the number of objects, never on that of frames."""

    num_frames: int = 0
    objects: dict[int, ObjectSummary] = field(default_factory=dict)
    warnings: dict[int, list[str]] = field(default_factory=dict)
    _concepts: list[tuple[str, int]] = field(default_factory=list)
    _drawn: list[tuple[str, int]] = field(default_factory=list)
    _seen_prompts: set[int] = field(default_factory=set)

    def ask_for_concept(self, typed: str, prompt_id: int) -> None:
        """Note an option that asks for a concept."""
        self._concepts.append((typed, prompt_id))

    def ask_for_object(self, typed: str, obj_id: int, warnings: Sequence[str] = ()) -> None:
        """Note an option that points at an object, and what is doubtful about its mask."""
        self._drawn.append((typed, obj_id))
        self.warnings[obj_id] = [*self.warnings.get(obj_id, ()), *warnings]

    @property
    def not_found(self) -> list[str]:
        """The options whose concept or object was on no frame."""
        concepts = [typed for typed, number in self._concepts if number not in self._seen_prompts]
        return concepts + [typed for typed, number in self._drawn if number not in self.objects]

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        self.num_frames += 1
        for row in np.flatnonzero(result.masks.any(axis=(1, 2))).tolist():
            self._add_object(result, row)

    def _add_object(self, result: FrameResult, row: int) -> None:
        obj_id, index = int(result.obj_ids[row]), result.frame_index
        self._seen_prompts.add(int(result.prompt_ids[row]))
        summary = self.objects.get(obj_id)
        if summary is None:
            summary = ObjectSummary(obj_id, result.labels[row], index, index)
            self.objects[obj_id] = summary
        summary.first_frame = min(summary.first_frame, index)
        summary.last_frame = max(summary.last_frame, index)
        summary.num_frames += 1
        score = float(result.probabilities[row])
        if np.isfinite(score):
            summary.num_scores += 1
            summary.total_score += score


def print_summary(summary: RunSummary, paths: Sequence[Path], elapsed_s: float) -> None:
    """Print the objects of a run, and the paths of its files."""
    console = Console(highlight=False)
    rate = summary.num_frames / elapsed_s if elapsed_s > 0 else 0.0
    console.print(
        f"{summary.num_frames} frames, {len(summary.objects)} objects, "
        f"{elapsed_s:.1f} s ({rate:.1f} fps)"
    )
    if summary.objects:
        console.print(_table(summary))
    for typed in summary.not_found if summary.num_frames else ():
        console.print(f"nothing found: {typed}", soft_wrap=True, markup=False)
    for path in paths:
        console.print(str(path), soft_wrap=True, markup=False)


def _table(summary: RunSummary) -> Table:
    has_warnings = any(summary.warnings.get(obj_id) for obj_id in summary.objects)
    heads = ["id", "label", "frames", "first", "last", "mean score"]
    table = Table(*heads, *(["warning"] if has_warnings else []))
    for column in table.columns:
        column.justify = "left" if column.header in ("label", "warning") else "right"
    objects = sorted(summary.objects.values(), key=lambda item: item.obj_id)
    for item in objects[:_MAX_ROWS]:
        score = "" if item.mean_score is None else f"{item.mean_score:.2f}"
        table.add_row(
            str(item.obj_id),
            item.label.replace("[", "\\["),
            str(item.num_frames),
            str(item.first_frame),
            str(item.last_frame),
            score,
            *(["; ".join(summary.warnings.get(item.obj_id, ()))] if has_warnings else []),
        )
    if len(objects) > _MAX_ROWS:
        table.caption = f"and {len(objects) - _MAX_ROWS} more"
    return table
