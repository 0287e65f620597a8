"""Words to token ids: a checkpoint folder's own tokenizer, or CLIP's for ``sam3.pt``."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ftfy
import instant_clip_tokenizer
import tokenizers
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError, PromptError

CONTEXT_LENGTH = 32
MAX_CHARACTERS = 1000
"""Longest text that is looked at; no text of this length fits the context anyway."""

CLIP_VOCABULARY = 49408


class Tokenizer(Protocol):
    """Turns prompts into what the text encoder reads."""

    def encode(
        self, texts: Sequence[str], context_length: int = CONTEXT_LENGTH
    ) -> tuple[Tensor, Tensor]:
        """Token ids of several texts.

        Args:
            texts: K prompts, in any language if the vocabulary is byte-level as CLIP's is.
            context_length: tokens in a row, start and end included.

        Returns:
            input_ids (K, context_length) int64, and attention_mask (K, context_length) bool,
            True for tokens and False for padding.

        Raises:
            PromptError: a text is no string, is empty, or has too many tokens. It is never cut:
                the end of a description often carries what matters.
        """
        ...


class FolderTokenizer:
    """The ``tokenizer.json`` of a checkpoint folder."""

    def __init__(self, folder: Path, vocab_size: int | None = None) -> None:
        """Read it.

        Args:
            folder: holds ``tokenizer.json`` and maybe ``tokenizer_config.json``.
            vocab_size: rows of the model's token embedding, to check against.

        Raises:
            CheckpointError: it cannot be read, or has more tokens than the model.
        """
        path = folder / "tokenizer.json"
        try:
            content = path.read_text(encoding="utf-8")
            self._tokenizer = tokenizers.Tokenizer.from_str(content)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        except Exception as error:  # the library raises plain Exception for any bad content
            raise CheckpointError(f"{path} is no tokenizer: {error}") from error
        size = self._tokenizer.get_vocab_size()
        if vocab_size is not None and size > vocab_size:
            raise CheckpointError(
                f"{path} has {size} tokens but the model only {vocab_size}; "
                "it belongs to another checkpoint"
            )
        self._pad_id = self._find_pad_id(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # What a user types stays text, even if it spells a control token.
        self._tokenizer.encode_special_tokens = True
        self._frame: list[int] = self._tokenizer.encode("").ids

    def encode(
        self, texts: Sequence[str], context_length: int = CONTEXT_LENGTH
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Tokenizer.encode`."""
        checked = _check_texts(texts)
        encodings = self._tokenizer.encode_batch(checked)
        for text, encoding in zip(checked, encodings, strict=True):
            if all(encoding.special_tokens_mask):
                raise PromptError(f"text prompt {text!r} holds nothing the tokenizer can read")
        rows = [encoding.ids for encoding in encodings]
        _check_frames(rows, checked, self._frame)
        return _pad(rows, checked, context_length, self._pad_id)

    def _find_pad_id(self, folder: Path) -> int:
        """The pad id of the tokenizer, of its configuration, or else the end token."""
        padding = self._tokenizer.padding
        if padding is not None:
            return int(padding["pad_id"])
        token = _pad_token(folder / "tokenizer_config.json")
        known = None if token is None else self._tokenizer.token_to_id(token)
        if known is not None:
            return known
        frame = self._tokenizer.encode("").ids
        return frame[-1] if frame else 0


class ClipTokenizer:
    """CLIP's byte-level tokenizer with the cleaning that SAM 3 puts in front of it.

    Broken encodings are mended (ftfy), HTML entities resolved twice, white space folded, letters
    lower-cased. Rows are padded with 0.
    """

    def __init__(self) -> None:
        self._tokenizer = instant_clip_tokenizer.Tokenizer()
        self._start: int = self._tokenizer.start_of_text()
        self._end: int = self._tokenizer.end_of_text()

    def encode(
        self, texts: Sequence[str], context_length: int = CONTEXT_LENGTH
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Tokenizer.encode`."""
        checked = _check_texts(texts)
        cleaned = [clean_text(text) for text in checked]
        for text, words in zip(checked, cleaned, strict=True):
            if not words:
                raise PromptError(f"text prompt {text!r} holds no words")
        rows = [[self._start, *self._tokenizer.encode(words), self._end] for words in cleaned]
        _check_frames(rows, checked, [self._start, self._end])
        return _pad(rows, checked, context_length, pad_id=0)


def clean_text(text: str) -> str:
    """``text`` as SAM 3 cleans it before it is tokenized."""
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(mended.split()).lower()


def load_tokenizer(path: Path, vocab_size: int = CLIP_VOCABULARY) -> Tokenizer:
    """The tokenizer of a checkpoint.

    Args:
        path: a checkpoint folder, or an official file.
        vocab_size: rows of the model's token embedding.

    Returns:
        The folder's own, or CLIP's where there is none and the vocabulary is as large as CLIP's.

    Raises:
        CheckpointError: there is no tokenizer that fits.
    """
    if (path / "tokenizer.json").is_file():
        return FolderTokenizer(path, vocab_size)
    if vocab_size == CLIP_VOCABULARY:
        return ClipTokenizer()
    raise CheckpointError(
        f"{path} has no tokenizer.json, and CLIP's {CLIP_VOCABULARY} tokens "
        f"do not suit a vocabulary of {vocab_size}"
    )


def _check_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str | bytes):
        raise PromptError("text prompts must be a list of strings, not a single one")
    for text in texts:
        if not isinstance(text, str):
            raise PromptError(f"a text prompt must be a string, not {type(text).__name__}")
        if not text.strip():
            raise PromptError("a text prompt is empty; give a short noun phrase")
        if len(text) > MAX_CHARACTERS:
            raise PromptError(
                f"text prompt {text[:40]!r}... has {len(text)} characters; "
                f"at most {MAX_CHARACTERS} are allowed"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise PromptError(f"text prompt {text!r} holds half of a surrogate pair")
    return list(texts)


def _check_frames(
    rows: Sequence[Sequence[int]], texts: Sequence[str], frame: Sequence[int]
) -> None:
    """Refuse start and end tokens (``frame``) inside a text: the encoder would stop there."""
    for row, text in zip(rows, texts, strict=True):
        if any(row.count(token) > frame.count(token) for token in frame):
            raise PromptError(
                f"text prompt {_shortened(text)!r} holds what the tokenizer takes for a start or "
                "end token; leave it out"
            )


def _pad(
    rows: Sequence[Sequence[int]], texts: Sequence[str], context_length: int, pad_id: int
) -> tuple[Tensor, Tensor]:
    """Rows of ids to a table and its mask; ``texts`` are for the error message."""
    input_ids = torch.full((len(rows), context_length), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros(len(rows), context_length, dtype=torch.bool)
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if len(row) > context_length:
            raise PromptError(
                f"text prompt {_shortened(text)!r} has {len(row)} tokens with start and end; "
                f"at most {context_length} fit: use a shorter phrase"
            )
        input_ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
        attention_mask[index, : len(row)] = True
    return input_ids, attention_mask


def _pad_token(path: Path) -> str | None:
    """``pad_token`` of a ``tokenizer_config.json``, if there is one."""
    if not path.is_file():
        return None
    try:
        token: Any = json.loads(path.read_text(encoding="utf-8"))["pad_token"]
    except KeyError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
