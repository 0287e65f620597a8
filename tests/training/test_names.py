from __future__ import annotations

from pathlib import Path

import pytest

from training.names import KINDS, SHAPES, article, is_chinese, is_plural, plural, read_kinds
from training.sprites import sprite


def test_there_are_enough_kinds_and_shapes_come_first() -> None:
    assert len(KINDS) >= 360
    assert [kind.name for kind in KINDS[: len(SHAPES)]] == list(SHAPES)
    assert [kind.number for kind in KINDS] == list(range(len(KINDS)))
    assert [kind.character is None for kind in KINDS].count(True) == len(SHAPES)


def test_no_two_kinds_share_a_name_in_either_language() -> None:
    for names in ([kind.name for kind in KINDS], [kind.chinese for kind in KINDS]):
        assert len(set(names)) == len(names)


def test_names_are_clean_and_in_their_language() -> None:
    for kind in KINDS:
        assert not is_chinese(kind.name)
        assert is_chinese(kind.chinese)
        for word in (kind.name, kind.chinese, *kind.synonyms):
            assert word == word.strip().lower()
            assert not set(word) & set(":_=,;[]")


def test_a_shape_is_never_called_like_an_emoji() -> None:
    shapes = {word for kind in KINDS[: len(SHAPES)] for word in (kind.name, kind.chinese)}
    for kind in KINDS[len(SHAPES) :]:
        assert not shapes & {kind.name, kind.chinese, *kind.synonyms}


def test_a_face_is_called_like_its_bearer() -> None:
    words = {kind.name: kind.synonyms for kind in KINDS}
    assert {"dog", "狗", "animal", "动物", "face", "脸"} <= set(words["dog face"])
    assert "dog" not in words["wolf"]


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("dog", "dogs"),
        ("strawberry", "strawberries"),
        ("box", "boxes"),
        ("kitchen knife", "kitchen knives"),
        ("glass of milk", "glasses of milk"),
        ("computer mouse", "computer mice"),
        ("toy", "toys"),
        ("cactus", "cactuses"),
        ("jeans", "jeans"),
        ("skis", "skis"),
        ("fish", "fish"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many
    assert is_plural(noun) == (noun == many and noun != "fish")


def test_articles() -> None:
    assert [article(noun) for noun in ("dog", "owl", "unicorn", "ufo")] == [
        "a dog", "an owl", "a unicorn", "a ufo",
    ]  # fmt: skip


def test_a_line_without_an_emoji_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("[food, 食物]\n🍕\nx pizza\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"'x' has no name in 'en'"):
        read_kinds(tmp_path / "list.txt")


def test_words_of_a_file(tmp_path: Path) -> None:
    text = "# what\n[food, 食物]\n🍕 =pie, slice\n[]\n🐶\n"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    pizza, dog = read_kinds(tmp_path / "list.txt")[len(SHAPES) :]
    assert (pizza.name, pizza.chinese) == ("pie", "披萨")
    assert pizza.synonyms == ("slice", "food", "食物")
    assert (dog.name, dog.chinese, dog.synonyms) == ("dog face", "狗脸", ("face", "脸"))
    assert dog.group != pizza.group


@pytest.mark.parametrize("part", range(8))
def test_every_emoji_has_a_picture(part: int) -> None:
    for kind in KINDS[len(SHAPES) + part :: 8]:
        assert kind.character is not None
        covered = sprite(kind.character).levels[0][..., 3]
        assert (covered > 0.5).mean() > 0.05, kind
