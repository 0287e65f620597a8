"""Token ids equal those of the reference, and texts that cannot be used are refused."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import instant_clip_tokenizer
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTokenizer

from maskstream.core.errors import CheckpointError, PromptError
from maskstream.detector.tokenizer import (
    ClipTokenizer,
    FolderTokenizer,
    clean_text,
    load_tokenizer,
)

START, END = 49406, 49407
WORDS = [
    "red",
    "circle",
    "红色",
    "的",
    "圆",
    "person's",
    "dog",
    "café",
    "Größe",
    "3D",
    "2024",
    "naïve",
    "don't",
    "🐶",
    "👩\u200d🚀",
    "yellow-ish",
    "traffic",
    "light,",
    "cup!",
    "(left)",
    "東京",
    "타워",
    "собака",
    "¿qué?",
    "x²",
    "½",
    "NASA",
    "i'm",
    "they'll",
]


def bytes_as_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(rest))]


@pytest.fixture(scope="module")
def reference() -> CLIPTokenizer:
    """CLIP's tokenizer in transformers, from the merges that the fast tokenizer carries along."""
    (library,) = Path(instant_clip_tokenizer.__file__).parent.glob("*instant_clip_tokenizer*.so")
    content = library.read_bytes()
    start = content.index(b"#version: 0.2\n") + len(b"#version: 0.2\n")
    lines = content[start:].split(b"\n", 48895)[:48894]
    merges = [tuple(line.decode().split(" ")) for line in lines]
    alphabet = bytes_as_characters()
    tokens = [*alphabet, *(character + "</w>" for character in alphabet)]
    tokens += ["".join(merge) for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(tokens) == 49408
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=32)


@pytest.fixture(scope="module")
def folder(reference: CLIPTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    reference.save_pretrained(path)
    return path


@cache
def shared_clip() -> ClipTokenizer:
    """One for all examples: reading the vocabulary takes a moment."""
    return ClipTokenizer()


@pytest.fixture
def clip() -> ClipTokenizer:
    return shared_clip()


def phrases(count: int) -> list[str]:
    """Random phrases, with odd spaces and capitals."""
    chooser = random.Random(5)
    picked = (chooser.choices(WORDS, k=chooser.randint(1, 4)) for _ in range(count))
    return [
        chooser.choice([" ", "  ", "\t"]).join(
            w.upper() if chooser.random() < 0.2 else w for w in p
        )
        for p in picked
    ]


def test_folder_equals_transformers(reference: CLIPTokenizer, folder: Path) -> None:
    texts = [text for text in phrases(500) if len(reference(text).input_ids) <= 32]
    assert len(texts) > 350
    wanted = reference(texts, padding="max_length", max_length=32, return_tensors="pt")
    input_ids, attention_mask = FolderTokenizer(folder, 49408).encode(texts)
    assert input_ids.dtype == torch.int64
    assert attention_mask.dtype == torch.bool
    assert torch.equal(input_ids, wanted.input_ids)
    assert torch.equal(attention_mask, wanted.attention_mask.bool())


def test_clip_equals_transformers(reference: CLIPTokenizer, clip: ClipTokenizer) -> None:
    texts = [text for text in phrases(500) if len(reference(clean_text(text)).input_ids) <= 32]
    assert len(texts) > 350
    wanted = reference(
        [clean_text(text) for text in texts],
        padding="max_length",
        max_length=32,
        return_tensors="pt",
    )
    input_ids, attention_mask = clip.encode(texts)
    mask = wanted.attention_mask.bool()
    assert torch.equal(attention_mask, mask)
    assert torch.equal(input_ids, wanted.input_ids.masked_fill(~mask, 0))


def test_known_ids(clip: ClipTokenizer) -> None:
    input_ids, attention_mask = clip.encode(["a cat"], context_length=6)
    assert input_ids.tolist() == [[START, 320, 2368, END, 0, 0]]
    assert attention_mask.tolist() == [[True] * 4 + [False] * 2]


def test_cleaning() -> None:
    assert clean_text("  Fish &amp;amp;\n CHIPS\u3000\u00a0") == "fish & chips"
    assert clean_text("cafÃ©") == "café"
    assert clean_text("&nbsp; ") == ""


@pytest.mark.parametrize("text", ["红色的圆", "左から二番目の犬", "🐶"])
def test_every_script_works(text: str, clip: ClipTokenizer, folder: Path) -> None:
    for tokenizer in (clip, FolderTokenizer(folder)):
        input_ids, attention_mask = tokenizer.encode([text, "dog"])
        assert input_ids.shape == attention_mask.shape == (2, 32)
        assert not torch.equal(input_ids[0], input_ids[1])


def test_no_texts(clip: ClipTokenizer, folder: Path) -> None:
    for tokenizer in (clip, FolderTokenizer(folder)):
        assert tokenizer.encode([])[0].shape == (0, 32)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("dog", "must be a list of strings"),
        (b"dog", "must be a list of strings"),
        ([""], "is empty"),
        (["dog", " \t\n\u3000"], "is empty"),
        ([None], "must be a string, not NoneType"),
        ([7], "must be a string, not int"),
        ([b"dog"], "must be a string, not bytes"),
        (["a" * 1001], "has 1001 characters; at most 1000"),
        (["dog " * 31], "has 33 tokens with start and end; at most 32"),
        (["红" * 40], r"has \d+ tokens with start and end"),
        (["\ud83d"], "half of a surrogate pair"),
    ],
)
def test_unusable_texts(texts: list[str], message: str, clip: ClipTokenizer, folder: Path) -> None:
    for tokenizer in (clip, FolderTokenizer(folder)):
        with pytest.raises(PromptError, match=message):
            tokenizer.encode(texts)


def test_as_many_tokens_as_fit(clip: ClipTokenizer, folder: Path) -> None:
    for tokenizer in (clip, FolderTokenizer(folder)):
        input_ids, attention_mask = tokenizer.encode(["dog " * 30])
        assert attention_mask.all()
        assert input_ids[0, -1] == END
        with pytest.raises(PromptError, match="has 4 tokens with start and end; at most 3"):
            tokenizer.encode(["red dog"], context_length=3)


def test_nothing_left_after_cleaning(clip: ClipTokenizer) -> None:
    with pytest.raises(PromptError, match="holds no words"):
        clip.encode(["&nbsp;"])


def test_control_tokens_stay_out_of_texts(clip: ClipTokenizer, folder: Path) -> None:
    for text in ("<|endoftext|>", "<|startoftext|> dog"):
        for tokenizer in (clip, FolderTokenizer(folder)):
            input_ids, _ = tokenizer.encode([text])
            assert (input_ids[0] == START).sum() == 1
            assert input_ids[0, 2] not in (START, END)
    with pytest.raises(PromptError, match="takes for a start or end token"):
        clip.encode(["a <end_of_text> dog"])


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_encoded_or_refused(text: str) -> None:
    tokenizer = shared_clip()
    try:
        input_ids, attention_mask = tokenizer.encode([text])
    except PromptError:
        return
    length = int(attention_mask.sum())
    assert 3 <= length <= 32
    assert attention_mask[0, :length].all()
    assert input_ids[0, 0] == START
    assert (input_ids[0] == END).nonzero().tolist() == [[length - 1]]
    assert (input_ids[0, length:] == 0).all()


@settings(max_examples=30)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
def test_rows_do_not_depend_on_each_other(words: list[str]) -> None:
    tokenizer = shared_clip()
    together = tokenizer.encode(words)
    for index, word in enumerate(words):
        alone = tokenizer.encode([word])
        assert torch.equal(alone[0][0], together[0][index])
        assert torch.equal(alone[1][0], together[1][index])


# --- folders ------------------------------------------------------------------------------------


def word_tokenizer(folder: Path, pad: bool = False) -> Path:
    vocabulary = {"[E]": 0, "dog": 1, "[P]": 2, "[U]": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[U]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[E]", "[P]"])
    tokenizer.post_processor = processors.TemplateProcessing("$A [E]", None, [("[E]", 0)])
    tokenizer.enable_truncation(2)
    if pad:
        tokenizer.enable_padding(pad_id=2, pad_token="[P]", length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_pad_id_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = FolderTokenizer(word_tokenizer(tmp_path, pad=True))
    assert tokenizer.encode(["dog dog"], 5)[0].tolist() == [[1, 1, 0, 2, 2]]


@pytest.mark.parametrize("token", ["[P]", {"content": "[P]"}])
def test_pad_token_of_the_configuration(tmp_path: Path, token: object) -> None:
    word_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": token}))
    assert FolderTokenizer(tmp_path).encode(["dog"], 4)[0].tolist() == [[1, 0, 2, 2]]


@pytest.mark.parametrize("config", [None, {}, {"pad_token": None}, {"pad_token": "unknown"}])
def test_end_token_pads_otherwise(tmp_path: Path, config: object) -> None:
    word_tokenizer(tmp_path)
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert FolderTokenizer(tmp_path).encode(["dog"], 4)[0].tolist() == [[1, 0, 0, 0]]


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        FolderTokenizer(tmp_path)
    for content in (b"", b"{}", b"[]", b"\xff"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(CheckpointError, match="is no tokenizer"):
            FolderTokenizer(tmp_path)
    word_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        FolderTokenizer(tmp_path)


def test_choice_of_tokenizer(tmp_path: Path) -> None:
    assert isinstance(load_tokenizer(tmp_path / "sam3.pt"), ClipTokenizer)
    assert isinstance(load_tokenizer(tmp_path), ClipTokenizer)
    with pytest.raises(CheckpointError, match=r"do not suit a vocabulary of 77"):
        load_tokenizer(tmp_path, vocab_size=77)
    word_tokenizer(tmp_path)
    assert isinstance(load_tokenizer(tmp_path, vocab_size=4), FolderTokenizer)
    with pytest.raises(CheckpointError, match="has 4 tokens but the model only 3"):
        load_tokenizer(tmp_path, vocab_size=3)
