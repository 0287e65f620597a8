from __future__ import annotations

import numpy as np
import pytest

from training.names import KINDS, SHAPES, is_chinese, plural
from training.vocabulary import (
    ABSENT_CHINESE,
    ABSENT_COLORS,
    ABSENT_NOUNS,
    CHINESE_COLORS,
    COLORS,
    EVERYTHING,
    GENERIC,
    HELD_OUT,
    TRAIN_PAIRS,
    WORD_CONCEPTS,
    Concept,
    all_concepts,
    color_concept,
    concept_named,
    concepts_of,
    corpus,
    draw_wording,
    phrasings,
    shape_concept,
    similar_kinds,
)

BY_NAME = {kind.name: kind for kind in KINDS}
RED = COLORS.index("red")
CIRCLE = SHAPES.index("circle")


def members(concept: Concept) -> set[str]:
    return {kind.name for kind in KINDS if concept.matches(kind.number, -1)}


def test_a_word_means_all_kinds_that_bear_it() -> None:
    assert members(concept_named("dog")) == {"dog", "dog face", "poodle"}
    assert concept_named("dog") is concept_named("狗")
    assert members(concept_named("dog face")) == {"dog face"}
    assert members(concept_named("apple")) == {"red apple", "green apple"}


def test_every_word_concept_can_be_said_in_both_languages() -> None:
    for concept in WORD_CONCEPTS:
        assert concept.names, concept
        assert concept.chinese, concept


def test_colors_belong_to_shapes_only() -> None:
    red_circle, red = shape_concept(RED, CIRCLE), color_concept(RED)
    apple = BY_NAME["red apple"].number
    assert red_circle.matches(CIRCLE, RED)
    assert not red_circle.matches(CIRCLE, RED + 1)
    assert not red_circle.matches(CIRCLE + 1, RED)
    assert red.matches(CIRCLE + 1, RED)
    assert not red.matches(apple, -1)
    assert EVERYTHING.matches(apple, -1)
    assert EVERYTHING.matches(-1, -1)
    assert not concept_named("circle").matches(-1, -1)


def test_a_phrase_has_one_meaning() -> None:
    meaning: dict[str, Concept] = {}
    for concept in all_concepts(held_out=True):
        for phrase in phrasings(concept):
            assert meaning.setdefault(phrase, concept) is concept, phrase


def test_phrasings() -> None:
    phrases = phrasings(concept_named("dog"))
    assert phrases[0] == "dog"
    assert {"a dog", "dogs", "the dog", "all dogs", "狗", "所有狗"} == set(phrases[1:])
    assert {"red circle", "all red circles", "红色圆形", "红色的圆形"} <= set(
        phrasings(shape_concept(RED, CIRCLE))
    )
    assert {"red", "red shapes", "红色"} <= set(phrasings(color_concept(RED)))
    assert "a jeans" not in phrasings(concept_named("jeans"))


def test_held_out_pairs_are_left_out() -> None:
    said = {phrase for concept in all_concepts(held_out=False) for phrase in phrasings(concept)}
    for color, shape in HELD_OUT:
        assert f"{color} {shape}" not in said
        number = SHAPES.index(shape)
        chinese = CHINESE_COLORS[COLORS.index(color)] + KINDS[number].chinese
        assert chinese not in said
        assert (COLORS.index(color), number) not in TRAIN_PAIRS
    assert len(TRAIN_PAIRS) == len(COLORS) * len(SHAPES) - len(HELD_OUT)


def test_what_is_called_absent_is_never_there() -> None:
    words = {word for kind in KINDS for word in (kind.name, kind.chinese, *kind.synonyms)}
    words |= {plural(word) for word in words if not is_chinese(word)} | set(GENERIC) | set(COLORS)
    assert not words & {*ABSENT_NOUNS, *ABSENT_CHINESE, *ABSENT_COLORS}
    assert not words & {plural(noun) for noun in ABSENT_NOUNS}


def test_own_meaning_comes_first() -> None:
    for kind in KINDS:
        own = concepts_of(kind.number)[0]
        assert kind.name in own.names
        assert kind.chinese in own.chinese
        assert all(concept.matches(kind.number, -1) for concept in concepts_of(kind.number))


def test_similar_kinds_are_of_the_group_and_others() -> None:
    wolf = BY_NAME["wolf"].number
    near = {KINDS[number].name for number in similar_kinds(wolf)}
    assert {"fox", "dog"} <= near
    assert "wolf" not in near
    assert not near & {"pizza", "truck"}


@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_share_of_chinese(share: float) -> None:
    rng = np.random.default_rng(0)
    said = [draw_wording(rng, concept_named("dog"), share) for _ in range(600)]
    assert sum(map(is_chinese, said)) / 600 == pytest.approx(share, abs=0.07)


def test_the_corpus_holds_every_name() -> None:
    assert {word for kind in KINDS for word in (kind.name, kind.chinese)} <= set(corpus())
    assert set(ABSENT_CHINESE) <= set(corpus())
