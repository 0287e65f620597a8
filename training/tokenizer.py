"""A small CLIP-style tokenizer fitted on the prompts that training uses.

Byte-level BPE with ``</w>`` at word ends, as CLIP's, in the same files as transformers writes.
Any text can be encoded: all bytes are in the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

TOKENIZER_FILE = Path(__file__).with_name("tokenizer.json")
"""What was fitted once, for all runs: of merges that are equally frequent, ``tokenizers`` takes any
one first, another each time, and a run that goes on with other ids has forgotten those words."""
START = "<|startoftext|>"
END = "<|endoftext|>"
CONTEXT_LENGTH = 32
WORD_END = "</w>"
# Words, single digits and runs of other signs; the English clitics stay whole.
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def fit_tokenizer(corpus: Iterable[str], max_merges: int = 1022) -> Tokenizer:
    """Learn merges from ``corpus`` and build the tokenizer.

    The vocabulary is the 256 bytes, the 256 bytes at a word's end, the merges, start and end.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    draft = _assemble(models.BPE(end_of_word_suffix=WORD_END))
    trainer = BpeTrainer(
        vocab_size=512 + max_merges,
        min_frequency=2,
        initial_alphabet=alphabet,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    draft.train_from_iterator(corpus, trainer)
    learned = [tuple(pair) for pair in json.loads(draft.to_str())["model"]["merges"]][:max_merges]
    tokens = [*alphabet, *(byte + WORD_END for byte in alphabet)]
    tokens += [first + second for first, second in learned]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    tokenizer = _assemble(
        models.BPE(
            vocab=vocabulary,
            merges=learned,
            unk_token=END,
            end_of_word_suffix=WORD_END,
            continuing_subword_prefix="",
        )
    )
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]),
        (START, vocabulary[START]),
        trim_offsets=False,
        add_prefix_space=False,
    )
    return tokenizer


def _assemble(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def load_fitted() -> Tokenizer:
    """The tokenizer of all runs and of the checkpoint."""
    return Tokenizer.from_file(str(TOKENIZER_FILE))


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Contents of ``tokenizer.json`` and ``tokenizer_config.json`` as transformers reads them."""
    settings: dict[str, Any] = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "model_max_length": CONTEXT_LENGTH,
        "padding_side": "right",
    }
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": (json.dumps(settings, indent=2) + "\n").encode(),
    }


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tokenizer_files(tokenizer).items():
        (folder / name).write_bytes(content)


def encode(tokenizer: Tokenizer, texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids and attention masks of ``CONTEXT_LENGTH`` each, padded with the end token."""
    end: int = tokenizer.get_vocab()[END]
    ids: list[list[int]] = []
    masks: list[list[int]] = []
    for encoding in tokenizer.encode_batch(texts):
        kept = encoding.ids[:CONTEXT_LENGTH]
        kept[-1] = end
        padding = CONTEXT_LENGTH - len(kept)
        ids.append(kept + [end] * padding)
        masks.append([1] * len(kept) + [0] * padding)
    return ids, masks
