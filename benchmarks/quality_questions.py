"""What is asked of a picture: phrases that are true of something in it, and plausible others.

Everything is asked in English and in Chinese alike, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.quality_scenes import Scene
from training.names import KINDS, SHAPES, is_chinese
from training.vocabulary import (
    TRAIN_PAIRS,
    Concept,
    chinese,
    concept_named,
    english,
    shape_concept,
    similar_kinds,
)

Language = Literal["English", "Chinese"]
Sort = Literal["name", "synonym", "wording", "colour and shape", "similar", "recoloured", "other"]
MAX_THINGS = 2
"""Different things of a picture that are asked for."""
NUM_OTHERS = 2
"""Things that are not there and resemble nothing that is."""


@dataclass(frozen=True, slots=True)
class Question:
    """A phrase to look for.

    Attributes:
        text: the phrase.
        language: of the phrase.
        sort: where it comes from; "similar" (a thing that may be taken for one that is there),
            "recoloured" (the shape or the colour is there, not both) and "other" (anything) are
            true of nothing in the picture.
        concept: what it means.
        kind: number of the kind that it is the plain name of, or -1.
    """

    text: str
    language: Language
    sort: Sort
    concept: Concept
    kind: int = -1


def language_of(text: str) -> Language:
    """Chinese as soon as it holds a Chinese character."""
    return "Chinese" if is_chinese(text) else "English"


def questions(scene: Scene, rng: np.random.Generator, row: int = -1) -> list[Question]:
    """What to ask of a picture; no phrase twice.

    Left out is what cannot be judged: present concepts whose objects are all seen too little.

    Args:
        scene: the picture.
        rng: for all choices.
        row: an object that is asked for in any case, if it is seen well; -1 for none.
    """
    things = _things(scene, rng)
    if row >= 0 and scene.counts[row]:
        first = (int(scene.colors[row]), int(scene.kinds[row]))
        things = [first, *(thing for thing in things if thing != first)]
    things = things[:MAX_THINGS]
    asked = [q for color, kind in things for q in _present(rng, color, kind)]
    for color, kind in things:
        asked += _absent(rng, scene, color, kind)
    for _ in range(NUM_OTHERS):
        asked += _named(_absent_kind(rng, scene, range(len(KINDS))), "other")
    unique = {question.text: question for question in reversed(asked)}
    return [q for q in reversed(unique.values()) if _can_be_judged(scene, q.concept)]


def names_present(scene: Scene, rng: np.random.Generator) -> list[tuple[Question, Question]]:
    """For each thing that is seen well, how it is called in English and in Chinese.

    Things are in random order; a shape goes by its colour half of the time.
    """
    found: dict[str, tuple[Question, Question]] = {}
    for color, kind in _things(scene, rng):
        colored = color >= 0 and rng.random() < 0.5
        first, second = _colored(color, kind) if colored else _named(kind, "name")
        found.setdefault(first.text, (first, second))
    return list(found.values())


def _things(scene: Scene, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(colour, kind) of different named things that count, in random order."""
    rows = np.flatnonzero(scene.counts & (scene.kinds >= 0))
    pairs = {(int(scene.colors[row]), int(scene.kinds[row])): None for row in rows}
    things = list(pairs)
    return [things[place] for place in rng.permutation(len(things))]


def _can_be_judged(scene: Scene, concept: Concept) -> bool:
    truth, ignored = scene.truth(concept)
    return len(truth) > 0 or len(ignored) == 0


def _present(rng: np.random.Generator, color: int, kind: int) -> Iterator[Question]:
    yield from _named(kind, "name")
    concept = concept_named(KINDS[kind].name)
    if color >= 0:
        yield from _colored(color, kind)
        concept = shape_concept(color, kind)
    for phrases in (english(concept)[1:], chinese(concept)[1:]):
        if phrases:
            text = phrases[int(rng.integers(0, len(phrases)))]
            yield Question(text, language_of(text), "wording", concept)
    for wanted in ("English", "Chinese"):
        words = [word for word in KINDS[kind].synonyms if language_of(word) == wanted]
        if words:
            word = words[int(rng.integers(0, len(words)))]
            yield Question(word, language_of(word), "synonym", concept_named(word))


def _absent(rng: np.random.Generator, scene: Scene, color: int, kind: int) -> Iterator[Question]:
    """Things that could be taken for one that is there."""
    if color < 0:
        yield from _named(_absent_kind(rng, scene, similar_kinds(kind)), "similar")
        return
    near = [
        pair
        for pair in TRAIN_PAIRS
        if (pair[0] == color) != (pair[1] == kind) and not scene.members(shape_concept(*pair)).any()
    ]
    if near:
        yield from _colored(*near[int(rng.integers(0, len(near)))], sort="recoloured")
    yield from _named(_absent_kind(rng, scene, range(len(SHAPES))), "similar")


def _absent_kind(
    rng: np.random.Generator, scene: Scene, kinds: range | tuple[int, ...]
) -> int | None:
    """One of the kinds of which no object is in the clip under any of its two names."""
    for place in rng.permutation(len(kinds)):
        kind = kinds[int(place)]
        names = (KINDS[kind].name, KINDS[kind].chinese)
        if not any(scene.members(concept_named(name)).any() for name in names):
            return kind
    return None


def _named(kind: int | None, sort: Sort) -> Iterator[Question]:
    """A kind's plain names."""
    if kind is not None:
        for name in (KINDS[kind].name, KINDS[kind].chinese):
            yield Question(name, language_of(name), sort, concept_named(name), kind)


def _colored(color: int, shape: int, sort: Sort = "colour and shape") -> Iterator[Question]:
    """A shape of a colour by its plain phrases."""
    concept = shape_concept(color, shape)
    for text in (english(concept)[0], chinese(concept)[0]):
        yield Question(text, language_of(text), sort, concept)
