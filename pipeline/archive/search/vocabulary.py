"""The concepts of an index, and which of them a word means."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from maskstream.core.errors import NotIndexedError
from maskstream.pipeline.archive.format.records import ConceptRecord
from maskstream.pipeline.archive.search.statement import Similarities

Embed = Callable[[str], list[float] | None]
"""Makes the embedding of a text, with the checkpoint that the index was built with. None: it
cannot, and texts are compared letter by letter."""

NUM_NEAREST = 5


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept of an index.

    Attributes:
        text: what was looked for.
        num_videos: in how many videos, found or not.
    """

    text: str
    num_videos: int


class Vocabulary:
    """Finds concepts by words.

    Args:
        num_videos: each concept of the index, with in how many videos it was looked for.
        records: what is known of concepts; of some there may be none.
        embed: embeds new words. None: new words are compared letter by letter.
    """

    def __init__(
        self,
        num_videos: Mapping[str, int],
        records: Sequence[ConceptRecord],
        embed: Embed | None = None,
    ) -> None:
        self._num_videos = dict(num_videos)
        self._embeddings = {one.text: one.embedding for one in records if one.embedding}
        self._embed = embed

    @property
    def concepts(self) -> list[Concept]:
        """All concepts, by their texts."""
        return [Concept(text, number) for text, number in sorted(self._num_videos.items())]

    def resolve(self, word: str, near: float | None) -> dict[str, float]:
        """The concepts that a word means, with their similarities, the nearest first.

        Args:
            near: take concepts of at least this similarity, too; None: this text alone, whatever
                its case.

        Raises:
            NotIndexedError: there are none; the message names the nearest.
        """
        same = [text for text in self._num_videos if _plain(text) == _plain(word)]
        if near is None and same:
            return dict.fromkeys(same, 1.0)
        similar = self.similarities(word)
        if near is not None:
            meant = {text: value for text, value in similar.items() if value >= near}
            if meant:
                return meant
        raise NotIndexedError(_message(word, near, similar))

    def similarities(self, word: str) -> Similarities:
        """How near each concept is to a word, the nearest first.

        By embeddings (-1 to 1) where there are both, else letter by letter (0 to 1).
        """
        found = {}
        embedding = self._embedding(word)
        for text in self._num_videos:
            other = self._embeddings.get(text)
            if _plain(text) == _plain(word):
                found[text] = 1.0
            elif embedding is None or other is None or len(embedding) != len(other):
                found[text] = _likeness(_plain(word), _plain(text))
            else:
                found[text] = sum(a * b for a, b in zip(embedding, other, strict=True))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def num_looked_at(self, meant: Similarities) -> int:
        """In how many videos at least one of these was looked for, at least."""
        return max((self._num_videos.get(text, 0) for text in meant), default=0)

    def _embedding(self, word: str) -> list[float] | None:
        if not self._embeddings:
            return None
        for text, embedding in self._embeddings.items():
            if _plain(text) == _plain(word):
                return embedding
        return None if self._embed is None else self._embed(word)


def _message(word: str, near: float | None, similar: Similarities) -> str:
    what = f"{word!r} is not indexed"
    if near is not None:
        what += f", nor is anything of similarity {near:g} or more"
    if not similar:
        return f"{what}; the index holds no video yet"
    nearest = list(similar.items())[:NUM_NEAREST]
    return f"{what}; nearest: " + ", ".join(f"{text!r} ({value:.2f})" for text, value in nearest)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _likeness(one: str, other: str) -> float:
    first, second = sorted((one, other))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
