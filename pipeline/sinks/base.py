"""The interface of all sinks, and files that appear only when they are complete."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from maskstream.core.errors import OutputError
from maskstream.pipeline.api.results import FrameResult


class Sink(Protocol):
    """Takes results one by one and writes them to files.

    Promises: a file under its final name is always complete. It is written under that name with
    ``.part`` added, and renamed when it is closed.
    """

    @property
    def paths(self) -> list[Path]:
        """The files that exist after ``close``."""
        ...

    def write(self, result: FrameResult) -> None:
        """Take one frame.

        Raises:
            OutputError: it cannot be written. The sink is then closed and takes no more frames.
        """
        ...

    def close(self) -> None:
        """Finish the files, also after an exception or an interruption. Closing twice is fine.

        Raises:
            OutputError: a file cannot be finished; it does not appear under its final name.
        """
        ...

    def discard(self) -> None:
        """Remove the unfinished files, instead of ``close``."""
        ...


def part_path(path: Path) -> Path:
    """The path of a file until it is complete."""
    return path.with_name(path.name + ".part")


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for a file that cannot be written."""
    return OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}")


def to_json(value: Any) -> str:
    """Convert a value to JSON on one line. NaN is an error."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under ``path`` only when it is complete; see ``whole_path``."""
    # The bytes of names that are no UTF-8 become escapes of JSON.
    with (
        whole_path(path) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield file


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """The path to write a file to, so that it appears under ``path`` only when it is complete.

    Raises:
        OutputError: the file cannot be written; its unfinished part is removed.
    """
    part = part_path(path)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        remove(part)
        raise cannot_write(path, error) from error
    except BaseException:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Delete a file, if it exists."""
    with suppress(OSError):
        path.unlink()
