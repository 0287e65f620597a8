"""A word means the concepts that come near it; one that means none is never an empty answer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from maskstream.core.errors import NotIndexedError
from maskstream.pipeline.archive.embedding import embed_text
from maskstream.pipeline.archive.format.records import ConceptRecord
from maskstream.pipeline.archive.search.index import Index
from maskstream.pipeline.archive.search.vocabulary import Vocabulary
from maskstream.pipeline.compat.builders import build_sam3_image_model
from tests.pipeline.archive.synthetic import Made, add_concept, add_videos, create

ANGLES = {"dog": 0, "puppy": 20, "red car": 90}


def embed(word: str) -> list[float]:
    """Words on a circle."""
    angle = math.radians({**ANGLES, "wolf": 30, "table": 180}[word])
    return [math.cos(angle), math.sin(angle)]


def vocabulary(*, with_embed: bool = True) -> Vocabulary:
    records = [ConceptRecord(text=text, embedding=embed(text), checkpoint="c") for text in ANGLES]
    return Vocabulary(dict.fromkeys(ANGLES, 3), records, embed if with_embed else None)


def test_a_text_means_itself_whatever_its_case() -> None:
    assert vocabulary().resolve(" Red  CAR ", None) == {"red car": 1.0}
    assert Vocabulary({"Dog": 1, "dog": 2}, []).resolve("DOG", None) == {"Dog": 1.0, "dog": 1.0}


def test_near_words_are_those_above_the_cut_off() -> None:
    assert list(vocabulary().resolve("dog", 0.9)) == ["dog", "puppy"]
    assert vocabulary().resolve("dog", 0.9)["puppy"] == pytest.approx(math.cos(math.radians(20)))
    assert list(vocabulary().resolve("dog", 0.95)) == ["dog"]


def test_a_new_word_is_embedded() -> None:
    assert list(vocabulary().resolve("wolf", 0.8)) == ["puppy", "dog"]


def test_a_new_word_without_a_checkpoint_is_compared_letter_by_letter() -> None:
    assert list(vocabulary(with_embed=False).resolve("dogs", 0.8)) == ["dog"]


def test_a_concept_without_embedding_is_compared_letter_by_letter() -> None:
    found = Vocabulary({"dog": 1}, [], embed).similarities("dogs")
    assert found == {"dog": pytest.approx(6 / 7)}


@pytest.mark.parametrize("near", [None, 0.99])
def test_a_word_that_means_nothing_names_the_nearest(near: float | None) -> None:
    with pytest.raises(
        NotIndexedError, match=r"'wolf' is not indexed.*; nearest: 'puppy' \(0.98\)"
    ):
        vocabulary().resolve("wolf", near)


def test_an_index_without_videos_says_so(tmp_path: Path) -> None:
    index = Index(create(str(tmp_path / "index")).url)
    assert index.search().hits == ()
    with pytest.raises(NotIndexedError, match="holds no video yet"):
        index.search("dog")


def test_an_index_finds_by_words_of_another_language(tmp_path: Path) -> None:
    model = build_sam3_image_model(checkpoint_path="tiny", device="cpu")
    made = Made(concepts=("soccer ball", "dog"))
    storage = create(str(tmp_path / "index"), ())
    for text in made.concepts:
        add_concept(storage, text, embed_text(model, text))
    add_videos(storage, range(3), made)
    index = Index(storage.url, embed=lambda word: embed_text(model, word))
    with pytest.raises(NotIndexedError, match="nearest: 'soccer ball'"):
        index.search("足球")
    hits = index.search("足球", near=0.8, order="similarity").hits
    assert {hit.concept for hit in hits} == {"soccer ball"}
    assert 0.8 < hits[0].similarity < 1
    both = index.search("足球", near=-1, order="similarity", limit=1000).hits
    assert [hit.similarity for hit in both] == sorted(
        (hit.similarity for hit in both), reverse=True
    )
    assert len(both) == index.count()
