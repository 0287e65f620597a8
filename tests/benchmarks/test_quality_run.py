"""The quality benchmark's scenes and questions, and short runs of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.quality_concepts import average_precision, concept_quality, judge
from benchmarks.quality_images import FLOOR
from benchmarks.quality_questions import questions
from benchmarks.quality_reference import Transformers, with_its_options
from benchmarks.quality_scenes import (
    FIRST_SEED,
    SIZE,
    UNSEEN,
    featuring,
    only_blobs,
    render,
    render_seen,
    unseen_clip,
)
from benchmarks.quality_systems import Maskstream
from maskstream.pipeline.video.model import VideoModel
from training.spec import make_clip
from training.vocabulary import concept_named


def test_clips_are_not_those_of_training() -> None:
    spec = unseen_clip(7, (3, 5))
    assert spec.seed == FIRST_SEED + 7
    assert spec.background >= UNSEEN
    assert all(thing.surface.seed >= UNSEEN for thing in only_blobs(spec).objects)
    for seed in range(50):
        other = make_clip(seed, "train")
        assert other.background < UNSEEN
        assert all(thing.surface.seed < UNSEEN for thing in other.objects)


def test_an_emoji_is_shown_on_purpose() -> None:
    kind = min(concept_named("octopus").kinds or {-1})
    clips = [featuring(unseen_clip(number, (4, 6)), kind) for number in range(8)]
    shown = [(spec, row) for spec, row in clips if row >= 0]
    assert len(shown) >= 6
    for spec, row in shown:
        scene = next(render(spec, 1))
        assert scene.kinds[row] == kind
        assert scene.image.shape == (*SIZE, 3)
        assert (scene.masks.sum(0) <= 1).all()
    nameless, row = featuring(only_blobs(clips[0][0]), kind)
    assert row == -1
    assert (next(render(nameless, 1)).kinds == -1).all()


@pytest.mark.parametrize("number", range(6))
def test_questions_are_true_or_false_as_they_claim(number: int) -> None:
    rng = np.random.default_rng(number)
    spec, row = featuring(unseen_clip(number, (3, 9)), 100)
    scene = render_seen(spec, row, rng)
    asked = questions(scene, rng, row)
    texts = [question.text for question in asked]
    assert len(set(texts)) == len(texts) > 4
    for question in asked:
        truth, _ = scene.truth(question.concept)
        absent = question.sort in ("similar", "recoloured", "other")
        assert (len(truth) == 0) == absent, question
        assert not (absent and scene.members(question.concept).any())
    if row >= 0 and scene.counts[row]:
        assert any(question.kind == 100 for question in asked)


def test_the_truth_as_an_answer_is_perfect() -> None:
    rng = np.random.default_rng(5)
    scene = render_seen(unseen_clip(5, (4, 9)), -1, rng)
    answers = []
    for question in questions(scene, rng):
        truth, ignored = scene.truth(question.concept)
        found = np.concatenate([truth, ignored])
        answers.append(judge(found, np.full(len(found), 0.9), truth, ignored))
    figures = concept_quality(answers, 0.5)
    assert (figures.cgf1, figures.presence_accuracy) == (100.0, 1.0)
    assert average_precision(answers) == pytest.approx((1.0, 1.0))


def test_transformers_finds_the_same(model: VideoModel) -> None:
    rng = np.random.default_rng(0)
    scene = render_seen(unseen_clip(0, (4, 9)), -1, rng)
    texts = ["thing", "red star", "苹果"]
    ours = list(Maskstream(model).find(scene.image, texts, FLOOR))
    theirs = list(Transformers(model).find(scene.image, texts, FLOOR))
    assert len(ours[0].scores) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert sorted(one.scores) == pytest.approx(sorted(other.scores), abs=1e-4)
        order, other_order = np.argsort(one.scores), np.argsort(other.scores)
        different = np.count_nonzero(one.masks[order] != other.masks[other_order])
        assert different <= 1e-3 * one.masks.size


def test_transformers_follows_the_same(model: VideoModel) -> None:
    """Under the options that it runs with, and but for masks of which nothing is left."""
    images = [scene.image for scene in render(unseen_clip(1, (3, 5)), 2)]
    texts = ["thing", "苹果"]
    ours = list(Maskstream(with_its_options(model)).follow(images, texts))
    theirs = list(Transformers(model).follow(images, texts))
    assert len(ours) == len(theirs) == len(images)
    assert sum(len(frame[0].obj_ids) for frame in ours) > 0
    for frame, other_frame in zip(ours, theirs, strict=True):
        for one, other in zip(frame, other_frame, strict=True):
            seen = other.masks.any(axis=(1, 2))
            assert one.obj_ids.tolist() == other.obj_ids[seen].tolist()
            different = np.count_nonzero(one.masks != other.masks[seen])
            assert different <= 1e-3 * one.masks.size


def test_a_run_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--images", "1", "--clips", "1", "--frames", "2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["quality", "--device", "cpu", "--threads", "2", *sizes])
    quality.main()
    results = json.loads((tmp_path / "quality-tiny.json").read_text(encoding="utf-8"))
    assert {"commit", "machine", "images", "video", "clicks", "aims"} <= set(results)
    assert [row["language"] for row in results["images"]] == ["both", "English", "Chinese"]
    assert results["clicks"][0]["objects"] == "texture"
    text = (tmp_path / "quality-tiny.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    for title in quality.TITLES.values():
        assert f"### {title}" in text
    names = (tmp_path / "quality-tiny-names.csv").read_text(encoding="utf-8").splitlines()
    assert len(names) > 1


def test_aims_are_compared_with_what_was_seen() -> None:
    seen = {
        "images": [{"cgF1": 70.0, "false_alarms_%": 4.0}, {"cgF1": 0.0, "false_alarms_%": 0.0}],
        "clicks": [{"IoU_after_1_click": None}],
    }
    assert [row["reached"] for row in quality.aims(seen)] == [True, False, False]


def test_the_command_line_fills_in_sizes() -> None:
    given = quality.parse(["--quick", "--frames", "9", "--checkpoint", "some/folder"])
    assert (given.images, given.clips, given.frames) == (6, 2, 9)
    assert given.stem == "quality-folder-quick"
