from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from training.names import KINDS, SHAPES
from training.tokenizer import (
    CONTEXT_LENGTH,
    END,
    START,
    TOKENIZER_FILE,
    encode,
    fit_tokenizer,
    load_fitted,
    save_tokenizer,
    tokenizer_files,
)
from training.vocabulary import COLORS, corpus

TOKENIZER = load_fitted()
TINY = Path(__file__).parents[2] / "configs" / "checkpoints" / "tiny"


@pytest.mark.parametrize(
    "text", ["red circle", "all yellow stars", "a dog, two cats", "zebra-crossing 42", "红色的圆"]
)
def test_decoding_gives_the_text_back(text: str) -> None:
    decoded = TOKENIZER.decode(TOKENIZER.encode(text).ids).replace("</w>", " ")
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_case_and_spaces_do_not_matter() -> None:
    assert TOKENIZER.encode("  Red \n\t CIRCLE ").ids == TOKENIZER.encode("red circle").ids


def test_every_known_word_is_one_token() -> None:
    for word in (*COLORS, *SHAPES):
        assert len(TOKENIZER.encode(word).ids) == 3


def test_names_are_short_and_the_vocabulary_is_as_large_as_it_should_be() -> None:
    assert TOKENIZER.get_vocab_size() == 512 + 1022 + 2
    for names in ([kind.name for kind in KINDS], [kind.chinese for kind in KINDS]):
        lengths = [len(TOKENIZER.encode(name).ids) - 2 for name in names]
        assert sum(length <= 6 for length in lengths) > 0.95 * len(names)
        assert max(lengths) <= 12
    assert max(len(TOKENIZER.encode(text).ids) for text in corpus()) <= CONTEXT_LENGTH


def test_names_differ_in_their_tokens() -> None:
    names = [name for kind in KINDS for name in (kind.name, kind.chinese)]
    assert len({tuple(TOKENIZER.encode(name).ids) for name in names}) == len(names)


def test_padding_and_cutting() -> None:
    ids, masks = encode(TOKENIZER, ["red circle", "star " * 60])
    start, end = TOKENIZER.token_to_id(START), TOKENIZER.token_to_id(END)
    assert [len(row) for row in ids] == [CONTEXT_LENGTH] * 2
    assert ids[0][0] == start
    assert ids[0][3:] == [end] * (CONTEXT_LENGTH - 3)
    assert masks[0] == [1] * 4 + [0] * (CONTEXT_LENGTH - 4)
    assert ids[1][-1] == end
    assert masks[1] == [1] * CONTEXT_LENGTH


def test_transformers_reads_the_files_and_agrees(tmp_path: Path) -> None:
    save_tokenizer(TOKENIZER, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["red circle", "The purple HEARTS", "a giraffe", "红"]
    batch = theirs(texts, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True)
    ids, masks = encode(TOKENIZER, texts)
    assert batch["input_ids"] == ids
    assert batch["attention_mask"] == masks


def test_runs_and_checkpoint_share_one_tokenizer() -> None:
    """Fitted anew, it would give some words other numbers each time."""
    bundled = (TINY / "tokenizer.json").read_bytes()
    assert tokenizer_files(load_fitted())["tokenizer.json"] == bundled
    assert TOKENIZER_FILE.read_bytes() == bundled
    fitted = fit_tokenizer(corpus())
    assert len(set(fitted.get_vocab()) & set(load_fitted().get_vocab())) > 1500
