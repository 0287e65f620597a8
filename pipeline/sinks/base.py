"""What every sink of results promises, and files that appear only when they are whole."""

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
    """Takes results one by one and leaves finished files behind.

    A file under its final name is always complete: it is written beside it, with ``.part`` added,
    and renamed when it is closed.
    """

    @property
    def paths(self) -> list[Path]:
        """The files that exist after ``close``."""
        ...

    def write(self, result: FrameResult) -> None:
        """Take one frame.

        Raises:
            OutputError: it cannot be written. The sink is then closed and takes no more.
        """
        ...

    def close(self) -> None:
        """Finish the files, also after an exception or an interruption. Twice is fine.

        Raises:
            OutputError: they cannot be finished; nothing is left under the final names.
        """
        ...

    def discard(self) -> None:
        """Give up instead of closing: leave nothing behind."""
        ...


def part_path(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(path.name + ".part")


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for a file that cannot be written."""
    return OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}")


def to_json(value: Any) -> str:
    """JSON on one line, without NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that appears under ``path`` only when everything in it was written.

    Raises:
        OutputError: it cannot be written; the unfinished file is removed.
    """
    part = part_path(path)
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        remove(part)
        raise cannot_write(path, error) from error
    except BaseException:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    with suppress(OSError):
        path.unlink()
