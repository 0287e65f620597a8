"""The folder that a command writes results to: it holds those of one run, or none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from maskstream.core.errors import InputError, OutputError
from maskstream.pipeline.sinks.base import cannot_write, remove

_OURS = re.compile(r"(results\.jsonl|coco\.json|youtube_vis\.json|overlay(-\d{5,})?\.mp4)(\.part)?")
_READABLE_PART = "results.jsonl.part"
"""Its lines are whole at any moment; of the other files an unfinished part is of no use."""


class OutputFolder:
    """A folder for the files of one run.

    Promises: nothing is created or removed before ``begin``, which is for the moment when there is
    something to write. Then the results of an earlier run go, all of them and nothing else.

    Args:
        path: the folder; it need not exist.
        overwrite: whether the results of an earlier run may be replaced.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        self._created: list[Path] = []

    def check(self) -> None:
        """Refuse the folder as early as possible.

        Raises:
            InputError: it holds the results of an earlier run.
            OutputError: it cannot be created or written to.
        """
        earlier = sorted(path.name for path in self._found())
        if earlier and not self._overwrite:
            raise InputError(
                f"{self.path} holds the results of an earlier run ({', '.join(earlier[:4])}"
                f"{', …' if len(earlier) > 4 else ''}); give another --out, or --overwrite to "
                "replace them all"
            )
        nearest = Path(os.path.abspath(self.path))
        while not os.path.lexists(nearest):
            nearest = nearest.parent
        if not nearest.is_dir():
            raise OutputError(f"{self.path} cannot be written: {nearest} is not a folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise OutputError(f"{self.path} cannot be written: {nearest} is not writable")

    def begin(self) -> Path:
        """Make the folder, and remove what an earlier run has left in it; returns its path.

        Raises:
            OutputError: it cannot be created or written to.
        """
        try:
            for path in (self.path, *self.path.parents):
                if path.exists():
                    break
                self._created.append(path)
            self.path.mkdir(parents=True, exist_ok=True)
            for path in self._found():
                path.unlink()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self.path

    def leave(self) -> None:
        """Remove what is of no use when the process is about to end in the middle of a run."""
        for path in self._found():
            if path.suffix == ".part" and (path.name != _READABLE_PART or not path.stat().st_size):
                remove(path)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folders that ``begin`` has made, if nothing is in them."""
        for path in self._created:
            try:
                path.rmdir()
            except OSError:
                return  # something is in it, so in those above too

    def _found(self) -> list[Path]:
        """The files in the folder that a run has written."""
        try:
            return [path for path in self.path.iterdir() if _OURS.fullmatch(path.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise cannot_write(self.path, error) from error
