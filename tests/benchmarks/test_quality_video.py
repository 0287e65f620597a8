from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality_questions import Question
from benchmarks.quality_scenes import Scene
from benchmarks.quality_systems import Followed, Found
from benchmarks.quality_video import (
    PhraseTrack,
    follow_clips,
    rows_by_phrase,
    two_questions,
    video_quality,
)
from training.vocabulary import concept_named, shape_concept

NUM_FRAMES = 10
STAR = Question("red star", "English", "colour and shape", shape_concept(0, 3))


def scene_of_squares(frame_index: int, counts: Sequence[bool] = (True, True)) -> Scene:
    """A red star (a square here, as far as masks go) and a red circle that move to the right."""
    masks = np.zeros((2, 24, 40), np.bool_)
    masks[0, 2:10, frame_index : frame_index + 8] = True
    masks[1, 12:20, frame_index : frame_index + 8] = True
    return Scene(
        image=np.zeros((24, 40, 3), np.uint8),
        masks=masks,
        counts=np.asarray(counts),
        kinds=np.asarray([3, 0]),
        colors=np.asarray([0, 0]),
    )


def tracked(say: Callable[[int, Scene], Followed]) -> PhraseTrack:
    track = PhraseTrack()
    for frame_index in range(NUM_FRAMES):
        scene = scene_of_squares(frame_index)
        track.add(scene, STAR, say(frame_index, scene))
    return track


def said(masks: NDArray[np.bool_], *obj_ids: int) -> Followed:
    return Followed(np.asarray(obj_ids, np.int64), masks)


def test_the_truth_is_perfect() -> None:
    quality = video_quality([tracked(lambda _, scene: said(scene.masks[:1], 7))])
    assert (quality.hota, quality.deta, quality.assa, quality.idf1) == (1.0, 1.0, 1.0, 1.0)
    assert (quality.num_sequences, quality.num_objects, quality.switches) == (1, 1, 0)


def test_another_identity_from_the_middle_on() -> None:
    """Each half shares 5 of 10 frames with the object: AssA 1/2, HOTA its root, IDF1 1/2."""
    track = tracked(lambda index, scene: said(scene.masks[:1], 7 if index < 5 else 9))
    quality = video_quality([track])
    assert quality.deta == pytest.approx(1.0)
    assert quality.assa == pytest.approx(0.5)
    assert quality.hota == pytest.approx(math.sqrt(0.5))
    assert quality.idf1 == pytest.approx(0.5)
    assert quality.switches == 1


def test_another_things_object_is_no_hit() -> None:
    """The circle under the star's phrase: a miss and a false find in every frame."""
    quality = video_quality([tracked(lambda _, scene: said(scene.masks[1:], 7))])
    assert (quality.hota, quality.idf1) == (0.0, 0.0)
    both = video_quality([tracked(lambda _, scene: said(scene.masks, 7, 8))])
    assert both.deta == pytest.approx(0.5)  # 10 hits, 10 false finds


def test_sequences_count_together_and_their_identities_apart() -> None:
    right = tracked(lambda _, scene: said(scene.masks[:1], 7))
    silent = tracked(lambda _, scene: said(scene.masks[:0]))
    quality = video_quality([right, silent])
    assert quality.num_objects == 2
    assert quality.deta == pytest.approx(0.5)  # 10 hits, 10 misses
    assert quality.assa == pytest.approx(1.0)
    assert quality.switches == 0
    rows = rows_by_phrase([(STAR, right), (STAR, silent)])
    assert [row["phrases"] for row in rows] == [2, 2]
    assert rows[0]["DetA"] == 50.0


def test_frames_in_which_an_object_is_hardly_seen_do_not_count() -> None:
    track = PhraseTrack()
    for frame_index in range(NUM_FRAMES):
        scene = scene_of_squares(frame_index, (frame_index % 2 == 0, True))
        track.add(scene, STAR, said(scene.masks[:1], 7))
    data = track.data()
    assert data["num_gt_dets"] == data["num_tracker_dets"] == NUM_FRAMES // 2
    assert video_quality([track]).hota == 1.0


def test_one_phrase_in_each_language() -> None:
    for number in range(6):
        asked = two_questions(scene_of_squares(0), number)
        assert {question.language for question in asked} == {"English", "Chinese"}
        assert len({question.concept for question in asked}) == 2


class Silent:
    """A system that never finds anything."""

    def __init__(self) -> None:
        self.texts: list[Sequence[str]] = []

    def find(self, image: NDArray[np.uint8], texts: Sequence[str], floor: float) -> Iterator[Found]:
        raise NotImplementedError

    def follow(
        self, images: Iterable[NDArray[np.uint8]], texts: Sequence[str]
    ) -> Iterator[list[Followed]]:
        self.texts.append(texts)
        for image in images:
            nothing = np.zeros((0, *image.shape[:2]), np.bool_)
            yield [said(nothing) for _ in texts]


def test_clips_are_followed_frame_by_frame() -> None:
    system = Silent()
    followed = list(follow_clips(system, 2, 3))
    assert [q.text for q, _ in followed] == [text for texts in system.texts for text in texts]
    for question, track in followed:
        data = track.data()
        assert data["num_timesteps"] == 3
        assert data["num_gt_dets"] > 0
        assert question.text in (*question.concept.names, *question.concept.chinese) or (
            question.concept.color is not None
        )
    assert video_quality([track for _, track in followed]).hota == 0.0


def test_names_of_the_figures_in_question() -> None:
    """Number 3 is the star and number 0 the circle, as the scenes above take for granted."""
    assert concept_named("star").matches(3, 0)
    assert concept_named("circle").matches(0, 0)
