"""The videos that an index holds, and what has become of their files since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from maskstream.core.errors import SourceError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_records
from maskstream.pipeline.archive.format.records import VideoManifest
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.plan.fingerprints import fingerprint_of, is_unchanged
from maskstream.pipeline.archive.plan.listing import Listed, list_archives, look_up

_BATCH = 256


def iterate_manifests(storage: Storage) -> Iterator[VideoManifest]:
    """The manifests of an index, by video; few of them are in memory at once.

    Raises:
        IndexFormatError, ArchiveError: they cannot be read.
    """
    names = [name for name in storage.names(layout.MANIFESTS) if layout.pass_of(name) is not None]
    for first in range(0, len(names), _BATCH):
        paths = [f"{layout.MANIFESTS}/{name}" for name in names[first : first + _BATCH]]
        yield from read_records(storage, paths, VideoManifest).values()


def list_indexed(storage: Storage) -> Iterator[Listed]:
    """The files of the videos that an index holds, each once.

    Raises:
        IndexFormatError, ArchiveError: they cannot be read.
    """
    last = ""
    for manifest in iterate_manifests(storage):
        if manifest.video_id != last:
            last = manifest.video_id
            yield look_up(manifest.source)


@dataclass(slots=True)
class SourceChanges:
    """What differs between an index and its files.

    Attributes:
        changed: files with another content than the one that was indexed.
        missing: files that do not exist any more.
        moved: of these, where a file with the same content lies now.
    """

    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)


def compare_sources(storage: Storage, archives: list[str]) -> SourceChanges:
    """Look for every file of an index.

    Args:
        storage: of the index.
        archives: where to look for files that have moved.

    Raises:
        InputError: an archive does not exist.
        IndexFormatError, ArchiveError: index or files cannot be read.
    """
    found, lost = SourceChanges(), dict[tuple[int | None, str | None], str]()
    known: set[str] = set()
    for manifest in iterate_manifests(storage):
        if manifest.source in known:
            continue
        known.add(manifest.source)
        listed = look_up(manifest.source)
        if listed.is_missing:
            found.missing.append(manifest.source)
            lost[manifest.fingerprint.size_bytes, manifest.fingerprint.digest] = manifest.source
        elif not is_unchanged(listed, manifest.fingerprint):
            found.changed.append(manifest.source)
    sizes = {size for size, _ in lost}
    for listed in list_archives(archives) if lost and archives else ():
        if listed.size_bytes not in sizes or listed.source in known or listed.is_missing:
            continue
        try:
            fingerprint = fingerprint_of(listed)
        except SourceError:
            continue  # it cannot be read: whether it is the one that was lost is not known
        source = lost.get((fingerprint.size_bytes, fingerprint.digest))
        if source is not None:
            found.moved[source] = listed.source
    return found
