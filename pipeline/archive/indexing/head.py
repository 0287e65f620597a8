"""Opens an index for building: its head, which is written once, and its concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskstream.core.errors import ArchiveError, IndexFormatError, IndexMismatchError, InputError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record, read_records
from maskstream.pipeline.archive.format.records import ConceptRecord, IndexHead, IndexSettings
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import FORMAT_VERSION


def read_head(storage: Storage) -> IndexHead | None:
    """The head of an index; None if there is no index.

    Raises:
        IndexFormatError: the index is of another version, or its head is damaged.
    """
    head = read_record(storage, layout.HEAD, IndexHead)
    if head is not None and head.format_version != FORMAT_VERSION:
        raise IndexFormatError(
            f"{storage.url} is an index of version {head.format_version}; this program reads and "
            f"writes version {FORMAT_VERSION}"
        )
    return head


def open_head(storage: Storage) -> IndexHead:
    """The head of an index that there must be.

    Raises:
        ArchiveError: there is no index.
        IndexFormatError: as :func:`read_head`.
    """
    head = read_head(storage)
    if head is None:
        raise ArchiveError(f"{storage.url} is no index; `maskstream index build` makes one")
    return head


def open_or_create(storage: Storage, head: IndexHead) -> None:
    """Make an index, or check that the one that there is has the same settings.

    Raises:
        IndexMismatchError: it has others; the message names them.
        IndexFormatError: as :func:`read_head`.
        ArchiveError: it cannot be read or written.
    """
    known = read_head(storage)
    if known is None:
        storage.write(layout.HEAD, head.to_bytes())
        return
    faults = _differences(known.settings, head.settings)
    if faults:
        raise IndexMismatchError(f"{storage.url} was made with {'; '.join(faults)}")


def read_concepts(storage: Storage) -> list[str]:
    """The concepts that an index is built for, sorted.

    Raises:
        IndexFormatError, ArchiveError: they cannot be read.
    """
    paths = [f"{layout.CONCEPTS}/{name}" for name in storage.names(layout.CONCEPTS)]
    return sorted(one.text for one in read_records(storage, paths, ConceptRecord).values())


def add_concepts(
    storage: Storage,
    texts: Sequence[str],
    checkpoint: str,
    embed: Callable[[str], list[float] | None],
) -> None:
    """Add concepts to an index.

    Args:
        storage: of the index.
        texts: what they are called.
        checkpoint: its digest.
        embed: makes the embedding of a text, or raises PromptError.

    Raises:
        PromptError: a text cannot be used; none is added.
        ArchiveError: they cannot be written.
    """
    records = [
        ConceptRecord(text=text, embedding=embed(text), checkpoint=checkpoint) for text in texts
    ]
    for record in records:
        storage.write(layout.concept(record.text), record.to_bytes())


def check_texts(texts: Sequence[str]) -> list[str]:
    """Texts without those that come twice.

    Raises:
        InputError: one is empty, or has white space at an end.
    """
    for text in texts:
        if not text or text != text.strip():
            raise InputError(f"a concept is called {text!r}; give it words")
    return list(dict.fromkeys(texts))


def _differences(known: IndexSettings, wanted: IndexSettings) -> list[str]:
    """What two settings differ in, in words."""
    ours, theirs = wanted.model_dump(mode="json"), known.model_dump(mode="json")
    faults = []
    for name, value in ours.items():
        if value == theirs[name]:
            continue
        if name == "checkpoint":
            faults.append("another checkpoint")
        else:
            faults.append(f"{name} {theirs[name]}, not {value}")
    return faults
