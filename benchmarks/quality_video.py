"""How well phrases are followed through clips: HOTA, association, identities.

A phrase in a clip is a sequence of its own, so that an object followed under the wrong phrase is
wrong twice, as in SA-Co's video benchmark. The figures are those of the package ``trackeval``, over
all sequences together: HOTA, DetA and AssA (Luiten et al., 2021) as means over the thresholds 0.05
to 0.95, IDF1 (Ristani et al., 2016) and identity switches (Bernardin and Stiefelhagen, 2008) at
IoU 0.5. Similarity is mask IoU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trackeval.metrics import CLEAR, HOTA, Identity

from benchmarks.quality_concepts import counting, overlap
from benchmarks.quality_questions import Question, names_present
from benchmarks.quality_scenes import Scene, render, unseen_clip
from benchmarks.quality_systems import Followed, System

FIRST_CLIP = 1_000_000
NUM_OBJECTS = (3, 7)


@dataclass(frozen=True, slots=True)
class VideoQuality:
    """Quality over many sequences; all but the counts in [0, 1].

    Attributes:
        hota: geometric mean of ``deta`` and ``assa``, threshold by threshold.
        deta: how well objects are found in single frames.
        assa: how well they keep their identities.
        idf1: F1 of frames in which an object has the one identity that suits it best.
        switches: how often an object goes on under another identity.
    """

    num_sequences: int
    num_objects: int
    hota: float
    deta: float
    assa: float
    idf1: float
    switches: int


class PhraseTrack:
    """What is true and what was said of one phrase in one clip, frame by frame."""

    def __init__(self) -> None:
        self._true: list[NDArray[np.int64]] = []
        self._said: list[NDArray[np.int64]] = []
        self._iou: list[NDArray[np.float64]] = []

    def add(self, scene: Scene, question: Question, said: Followed) -> None:
        """The next frame. Masks on objects seen too little to count are left out."""
        rows, ignored = scene.rows(question.concept)
        truth = scene.masks[rows]
        counts = counting(said.masks, truth, scene.masks[ignored])
        self._true.append(rows)
        self._said.append(said.obj_ids[counts])
        self._iou.append(overlap(truth, said.masks[counts])[0])

    def data(self) -> dict[str, Any]:
        """As trackeval's metrics take it: identities numbered from 0 without gaps."""
        num_true, true = _numbered(self._true)
        num_said, said = _numbered(self._said)
        return {
            "num_timesteps": len(self._true),
            "num_gt_ids": num_true,
            "num_tracker_ids": num_said,
            "num_gt_dets": sum(map(len, true)),
            "num_tracker_dets": sum(map(len, said)),
            "gt_ids": true,
            "tracker_ids": said,
            "similarity_scores": self._iou,
        }


def _numbered(frames: list[NDArray[np.int64]]) -> tuple[int, list[NDArray[np.int64]]]:
    identities = np.unique(np.concatenate([np.zeros(0, np.int64), *frames]))
    return len(identities), [np.searchsorted(identities, frame) for frame in frames]


def video_quality(sequences: Sequence[PhraseTrack]) -> VideoQuality:
    """All figures over these sequences together."""
    data = {str(number): sequence.data() for number, sequence in enumerate(sequences)}
    silent = {"PRINT_CONFIG": False}
    combined = {}
    for metric in (HOTA(), Identity(silent), CLEAR(silent)):
        each = {name: metric.eval_sequence(one) for name, one in data.items()}
        combined.update(metric.combine_sequences(each))
    return VideoQuality(
        num_sequences=len(data),
        num_objects=sum(one["num_gt_ids"] for one in data.values()),
        hota=float(np.mean(combined["HOTA"])),
        deta=float(np.mean(combined["DetA"])),
        assa=float(np.mean(combined["AssA"])),
        idf1=float(combined["IDF1"]),
        switches=int(combined["IDSW"]),
    )


def two_questions(scene: Scene, number: int) -> list[Question]:
    """Two things of a clip's first frame, one asked for in English and one in Chinese."""
    pairs = names_present(scene, np.random.default_rng((number, 2)))[:2]
    return [pair[(number + place) % 2] for place, pair in enumerate(pairs)]


def follow_clips(
    system: System, num_clips: int, num_frames: int
) -> Iterator[tuple[Question, PhraseTrack]]:
    """Follow two phrases through each clip; clips that begin with nothing to name are left out."""
    for number in range(FIRST_CLIP, FIRST_CLIP + num_clips):
        scenes = list(render(unseen_clip(number, NUM_OBJECTS), num_frames))
        asked = two_questions(scenes[0], number)
        if not asked:
            continue
        tracks = [PhraseTrack() for _ in asked]
        said = system.follow((scene.image for scene in scenes), [q.text for q in asked])
        for scene, frame in zip(scenes, said, strict=True):
            for track, question, one in zip(tracks, asked, frame, strict=True):
                track.add(scene, question, one)
        yield from zip(asked, tracks, strict=True)


def rows_by_phrase(followed: Sequence[tuple[Question, PhraseTrack]]) -> list[dict[str, Any]]:
    """All figures, for both languages together and for each that something was asked in."""
    rows = []
    for language in ("both", "English", "Chinese"):
        mine = [track for asked, track in followed if language in ("both", asked.language)]
        if not mine:
            continue
        quality = video_quality(mine)
        row: dict[str, Any] = {"language": language, "phrases": quality.num_sequences}
        row["objects"] = quality.num_objects
        for name in ("hota", "deta", "assa", "idf1"):
            title = {"deta": "DetA", "assa": "AssA"}.get(name, name.upper())
            row[title] = round(100 * getattr(quality, name), 1)
        rows.append(row | {"id_switches": quality.switches})
    return rows
