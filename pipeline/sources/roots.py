"""The folders that files may be opened in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maskstream.core.errors import InputError
from maskstream.core.redaction import redact_url


@dataclass(frozen=True, slots=True)
class AllowedRoots:
    """Folders that files must lie in, links followed; None allows any path."""

    folders: tuple[Path, ...] | None = None

    @classmethod
    def of(cls, folders: Iterable[Path] | None) -> AllowedRoots:
        """These folders, or any for None."""
        return cls(None if folders is None else tuple(folders))

    def resolve(self, path: str | Path) -> Path:
        """The absolute path with ".." and all links resolved: this is what may be opened.

        Raises:
            InputError: it leads out of the folders. The answer is the same whether it exists.
        """
        real = Path(os.path.realpath(path))
        if self.folders is None or any(
            real.is_relative_to(os.path.realpath(folder)) for folder in self.folders
        ):
            return real
        raise InputError(
            f"source {redact_url(str(path))!r} does not lie in one of the allowed folders"
        )


ANYWHERE = AllowedRoots()
