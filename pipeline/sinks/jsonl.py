"""A file with one line of JSON for each frame, in the order of the results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from maskstream.core.errors import OutputError
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.sinks.base import cannot_write, part_path, remove, to_json


class JsonlSink:
    """Writes ``FrameResult.to_record()`` as lines; ``FrameResult.from_record`` reads them back.

    Promises: each line is written to the operating system at once and whole. So the ``.part`` file
    can be followed while it grows, and is valid when the process dies. When the disk is full, the
    ``.part`` file with the lines written so far stays.
    """

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OutputError: the file cannot be created.
        """
        self._path = path
        self._size = 0
        self._failed = False
        self._file: BinaryIO | None = None
        try:
            self._file = part_path(path).open("wb", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    @property
    def paths(self) -> list[Path]:
        """The file; empty if writing it failed."""
        return [] if self._failed else [self._path]

    def write(self, result: FrameResult) -> None:
        """See ``Sink.write``."""
        self.write_record(result.to_record())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write one line from JSON values, for example a record with more fields.

        Raises:
            OutputError: see ``Sink.write``.
        """
        if self._file is None:
            raise OutputError(f"{self._path} is closed")
        line = (to_json(record) + "\n").encode()
        try:
            _write_all(self._file, line)
        except OSError as error:
            self._give_up()
            raise OutputError(
                f"{cannot_write(self._path, error)}; the lines before it are in "
                f"{part_path(self._path)}"
            ) from error
        self._size += len(line)

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
            part_path(self._path).replace(self._path)
        except OSError as error:
            self._failed = True
            raise cannot_write(self._path, error) from error

    def discard(self) -> None:
        """See ``Sink.discard``."""
        self._failed = True
        if self._file is not None:
            self._file.close()
            self._file = None
            remove(part_path(self._path))

    def _give_up(self) -> None:
        """Cut off the incomplete last line and close the ``.part`` file."""
        self._failed = True
        if self._file is not None:
            with suppress(OSError):
                self._file.truncate(self._size)
            self._file.close()
            self._file = None


def _write_all(file: BinaryIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]
