"""What is asked of a frame: concepts in words, by exemplar, present, nearly present or absent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from training.frames import SampledFrame
from training.names import KINDS, SHAPES
from training.vocabulary import (
    ABSENT_CHINESE,
    ABSENT_COLORS,
    ABSENT_NOUNS,
    CHINESE_COLORS,
    COLORS,
    EVERYTHING,
    GENERIC,
    HELD_OUT,
    VISUAL,
    Concept,
    all_concepts,
    color_concept,
    concepts_of,
    draw_wording,
    shape_concept,
    similar_kinds,
)

MAX_BOXES = 2
MAX_POINTS = 2
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Query:
    """One concept asked of one frame.

    Attributes:
        text: the words.
        members: (N,) bool, the objects that belong to the concept.
        positive: objects shown as positive exemplars.
        negative: objects shown as negative exemplars.
        as_points: show exemplars by a point instead of a box.
    """

    text: str
    members: npt.NDArray[np.bool_]
    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    as_points: bool = False


@cache
def _kind_table(kinds: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Whether each kind is one of some; the last entry is for what has no name."""
    table = np.zeros(len(KINDS) + 1, np.bool_)
    table[sorted(kinds)] = True
    return table


def members_of(frame: SampledFrame, concept: Concept) -> npt.NDArray[np.bool_]:
    """(N,) the frame's objects that belong to a concept."""
    members = np.ones(len(frame.kinds), np.bool_)
    if concept.kinds is not None:
        members &= _kind_table(concept.kinds)[frame.kinds]
    if concept.color is not None:
        members &= frame.colors == concept.color
    return members


def draw_queries(
    rng: np.random.Generator, frame: SampledFrame, count: int, exemplar_rate: float
) -> list[Query]:
    """Concepts to ask of a frame: present, nearly present, absent, and by exemplar."""
    usable = np.flatnonzero(frame.usable)
    queries = []
    for _ in range(count):
        roll = rng.random()
        if len(usable) and roll < exemplar_rate:
            queries.append(_exemplar_query(rng, frame, usable))
        elif len(usable) and roll < exemplar_rate + 0.6 * (1 - exemplar_rate):
            queries.append(_present_query(rng, frame, usable))
        else:
            queries.append(_absent_query(rng, frame))
    return queries


def _pick(rng: np.random.Generator, choices: tuple[Concept, ...]) -> Concept:
    return choices[int(rng.integers(0, len(choices)))]


def _true_concept(rng: np.random.Generator, kind: int, color: int) -> Concept:
    """Something true of an object with a name: mostly its own."""
    roll = rng.random()
    if color >= 0:
        if roll < 0.5:
            return shape_concept(color, kind)
        return color_concept(color) if roll < 0.72 else shape_concept(None, kind)
    own = concepts_of(kind)
    return own[0] if roll < 0.65 else _pick(rng, own)


def _present_query(
    rng: np.random.Generator, frame: SampledFrame, usable: npt.NDArray[np.int64]
) -> Query:
    named = usable[frame.kinds[usable] >= 0]
    if not len(named) or rng.random() < 0.05:
        return Query(draw_wording(rng, EVERYTHING), members_of(frame, EVERYTHING))
    chosen = int(rng.choice(named))
    concept = _true_concept(rng, int(frame.kinds[chosen]), int(frame.colors[chosen]))
    shown = (chosen,) if rng.random() < 0.06 else ()
    return Query(draw_wording(rng, concept), members_of(frame, concept), positive=shown)


def _twins(frame: SampledFrame, chosen: int) -> npt.NDArray[np.bool_]:
    """(N,) everything of the same kind and colour; what has no name is like nothing else."""
    alike = (frame.kinds == frame.kinds[chosen]) & (frame.colors == frame.colors[chosen])
    alone = np.arange(len(frame.kinds)) == chosen
    twins: npt.NDArray[np.bool_] = alone if frame.kinds[chosen] < 0 else alike
    return twins


def _exemplar_query(
    rng: np.random.Generator, frame: SampledFrame, usable: npt.NDArray[np.int64]
) -> Query:
    """Exemplars alone: everything that is like the positive one."""
    chosen = int(rng.choice(usable))
    members = _twins(frame, chosen)
    positive: tuple[int, ...] = (chosen,)
    twins = [int(i) for i in usable if members[i] and i != chosen]
    others = [int(i) for i in usable if not members[i]]
    if twins and rng.random() < 0.3:
        positive += (int(rng.choice(twins)),)
    negative = (int(rng.choice(others)),) if others and rng.random() < 0.25 else ()
    if len(positive) + len(negative) > MAX_BOXES:
        negative = ()
    return Query(VISUAL, members, positive, negative, as_points=bool(rng.random() < 0.35))


def _absent_query(rng: np.random.Generator, frame: SampledFrame) -> Query:
    """Words for what is not there: near misses, other concepts, unknown words."""
    nobody = np.zeros(len(frame.kinds), dtype=np.bool_)
    roll = rng.random()
    if roll < 0.15:
        return Query(_unknown_words(rng), nobody)
    pool = tuple(_near_misses(frame)) if roll < 0.6 else ()
    # A concept that shows too little of itself to be asked for is not absent either.
    seen = frame.coverage.sum((1, 2)) > 0
    pool = tuple(c for c in pool if not (members_of(frame, c) & seen).any())
    for _ in range(20):
        concept = _pick(rng, pool or all_concepts(held_out=False))
        if not (members_of(frame, concept) & seen).any():
            return Query(draw_wording(rng, concept), nobody)
    return Query(_unknown_words(rng), nobody)


def _near_misses(frame: SampledFrame) -> list[Concept]:
    """Kinds that resemble one that is there; colours and shapes there, but not together."""
    kinds, colors = set(frame.kinds.tolist()), set(frame.colors.tolist())
    pool = [
        concepts_of(other)[0]
        for kind in sorted(kinds)
        if kind >= len(SHAPES)
        for other in similar_kinds(kind)
        if other not in kinds
    ]
    pool += [
        shape_concept(color, shape)
        for color in range(len(COLORS))
        if color in colors
        for shape in range(len(SHAPES))
        if shape in kinds and (COLORS[color], SHAPES[shape]) not in HELD_OUT
    ]
    return pool


def _unknown_words(rng: np.random.Generator) -> str:
    def one_of(words: tuple[str, ...]) -> str:
        return words[int(rng.integers(0, len(words)))]

    roll = rng.random()
    if roll < 0.4:
        return one_of(ABSENT_NOUNS)
    if roll < 0.65:
        noun = one_of(ABSENT_CHINESE)
        return noun if rng.random() < 0.7 else f"{one_of(CHINESE_COLORS)}的{noun}"
    if roll < 0.75:
        return f"{one_of(COLORS)} {one_of(ABSENT_NOUNS)}"
    if roll < 0.87:
        return f"{one_of(ABSENT_COLORS)} {one_of(SHAPES + GENERIC)}"
    if roll < 0.9:
        return one_of(ABSENT_COLORS)
    letters = "".join(rng.choice(_LETTERS, int(rng.integers(3, 9))))
    return letters if rng.random() < 0.5 else f"{one_of(COLORS)} {letters}"


def draw_texts(
    rng: np.random.Generator, frames: list[SampledFrame], count: int
) -> list[tuple[str, Concept]]:
    """Texts to align with frames, no two alike: one for every usable thing, the rest at random.

    Args:
        rng: where choices come from.
        frames: of the batch.
        count: number of texts; more things than that are drawn from.
    """
    if not count:
        return []
    things = [
        (int(kind), int(color))
        for frame in frames
        for kind, color, usable in zip(frame.kinds, frame.colors, frame.usable, strict=True)
        if usable and kind >= 0
    ]
    texts: dict[str, Concept] = {}
    for place in rng.permutation(len(things))[:count]:
        text, concept = _true_text(rng, *things[int(place)])
        texts[text] = concept
    everything = all_concepts(held_out=False)
    while len(texts) < count:
        concept = _pick(rng, everything)
        texts.setdefault(draw_wording(rng, concept, 0.45), concept)
    return list(texts.items())


def _true_text(rng: np.random.Generator, kind: int, color: int) -> tuple[str, Concept]:
    """A thing's name in English or Chinese, or other words that are true of it."""
    roll = rng.random()
    own = concepts_of(kind)[0]
    if roll < 0.4:
        return KINDS[kind].name, own
    if roll < 0.7:
        return KINDS[kind].chinese, own
    concept = _true_concept(rng, kind, color)
    return draw_wording(rng, concept, 0.4, plain=0.5), concept
