"""Readers of an index that is being built: what they see is whole, at every moment."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import parse_record
from maskstream.pipeline.archive.format.records import ChunkRecord, FileEntry, VideoManifest

_LOOK_S = 0.05


class Watcher:
    """Looks at an index again and again.

    Attributes:
        num_looks: how often it has looked.
        faults: what it has seen that must not be.
    """

    def __init__(self, index: Path) -> None:
        self._index = index
        self._written: dict[str, int] = {}
        self._states: dict[str, FileEntry] = {}
        self.num_looks = 0
        self.faults: list[str] = []

    def num_chunks(self) -> int:
        """How many chunks have their records now."""
        return sum(1 for _ in self._chunk_records())

    def look(self) -> None:
        """Look once at all records, and at the files that they name."""
        self.num_looks += 1
        for path in self._index.glob(f"{layout.MANIFESTS}/*.json"):
            manifest = parse_record(path.read_bytes(), path.name, VideoManifest)
            if manifest is not None:
                folder = self._index / layout.video_folder(manifest.video_id)
                self._check(path, [folder / one.name for one in manifest.files], manifest.files)
        for path, record in self._chunk_records():
            tables = [one for one in record.files if one.table is not None]
            self._check(path, [path.parent / one.name for one in tables], tables)

    def _chunk_records(self) -> Iterator[tuple[Path, ChunkRecord]]:
        for path in self._index.glob(f"{layout.VIDEOS}/*/*-c*.json"):
            record = parse_record(path.read_bytes(), path.name, ChunkRecord)
            if record is not None:
                yield path, record

    def _check(self, path: Path, files: list[Path], entries: list[FileEntry]) -> None:
        """A record is written once, and names files that are there as it says."""
        name = str(path.relative_to(self._index))
        written = path.stat().st_mtime_ns
        if self._written.setdefault(name, written) != written:
            self.faults.append(f"{name} was done again")
            self._written[name] = written
        for file, entry in zip(files, entries, strict=True):
            blob = file.read_bytes() if file.exists() else b""
            if hashlib.sha256(blob).hexdigest() != entry.sha256:
                self.faults.append(f"{name} names {file.name}, which is not as it says")


@contextmanager
def watching(index: Path) -> Iterator[Watcher]:
    """A watcher that looks in a thread of its own."""
    watcher, is_over = Watcher(index), threading.Event()

    def run() -> None:
        while not is_over.wait(_LOOK_S):
            watcher.look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        is_over.set()
        thread.join()
        watcher.look()
