"""The files of an index, on any filesystem that fsspec opens."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import fsspec

from maskstream.core.errors import ArchiveError
from maskstream.core.redaction import redact_url

_READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of a folder: its name and its size in bytes."""

    name: str
    size_bytes: int


class Storage:
    """Reads and writes whole files below one folder.

    Promises: only what every store can do is used. Nothing is renamed, and no file is appended to.
    A write that is cut off may leave a part of the file: who reads a file knows its size or digest
    from a record that was written later.

    Args:
        url: a local path, or an address such as ``s3://bucket/index``.

    Raises:
        ArchiveError: there is no such kind of address, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ArchiveError(f"{redact_url(url)}: {error}") from error

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own filesystem."""
        return "file" in _names(self._fs.protocol)

    def address(self, path: str) -> str:
        """Where a file lies, in a form that pyarrow and DuckDB open: a path, or ``protocol://…``."""
        where = self._at(path)
        return where if self.is_local else str(self._fs.unstrip_protocol(where))

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem, for readers that take one."""
        return self._fs

    def read(self, path: str) -> bytes | None:
        """The content of a file; None if there is none.

        Raises:
            ArchiveError: it cannot be read.
        """
        try:
            content: bytes = self._fs.cat_file(self._at(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", path, error) from error
        return content

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The contents of many files, fetched side by side where the store can.

        Files that are not there are left out.

        Raises:
            ArchiveError: one of them cannot be read.
        """
        if self.is_local:
            contents = [self.read(path) for path in paths]
        else:
            with ThreadPoolExecutor(_READS_AT_ONCE) as readers:
                contents = list(readers.map(self.read, paths))
        return {
            path: content
            for path, content in zip(paths, contents, strict=True)
            if content is not None
        }

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file, in place of one of the same name.

        Raises:
            ArchiveError: it cannot be written.
        """
        where = self._at(path)
        try:
            self._fs.makedirs(posixpath.dirname(where), exist_ok=True)
            self._fs.pipe_file(where, content)
        except OSError as error:
            raise self._failed("written", path, error) from error

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A file to write bit by bit, in place of one of the same name.

        Raises:
            ArchiveError: it cannot be written.
        """
        where = self._at(path)
        try:
            self._fs.makedirs(posixpath.dirname(where), exist_ok=True)
            with self._fs.open(where, "wb") as file:
                yield file
        except OSError as error:
            raise self._failed("written", path, error) from error

    def files(self, folder: str) -> list[FileInfo]:
        """The files of a folder, by name; none if there is no such folder.

        Raises:
            ArchiveError: it cannot be listed.
        """
        return [
            FileInfo(posixpath.basename(one["name"]), int(one["size"] or 0))
            for one in self._entries(folder)
            if one["type"] == "file"
        ]

    def names(self, folder: str) -> list[str]:
        """The names of what is in a folder, sorted; none if there is no such folder.

        Faster than ``files``, where a store must be asked about each file for its size.

        Raises:
            ArchiveError: it cannot be listed.
        """
        self._fs.invalidate_cache(self._at(folder))
        try:
            found: list[str] = self._fs.ls(self._at(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._failed("listed", folder, error) from error
        return sorted(posixpath.basename(one.rstrip("/")) for one in found)

    def create(self, path: str, content: bytes) -> bool:
        """Write a whole file unless there is one of that name; False if there is.

        Of two processes that try at once, one gets True, where the store can see to that.

        Raises:
            ArchiveError: it cannot be written.
        """
        where = self._at(path)
        try:
            self._fs.makedirs(posixpath.dirname(where), exist_ok=True)
            self._fs.pipe_file(where, content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            raise self._failed("written", path, error) from error
        return True

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted; none if there is no such folder.

        Raises:
            ArchiveError: it cannot be listed.
        """
        return [
            posixpath.basename(one["name"].rstrip("/"))
            for one in self._entries(folder)
            if one["type"] == "directory"
        ]

    def delete(self, path: str) -> None:
        """Delete a file, if there is one.

        Raises:
            ArchiveError: it cannot be deleted.
        """
        try:
            self._fs.rm_file(self._at(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("deleted", path, error) from error

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all that is in it, if there is one.

        Raises:
            ArchiveError: it cannot be deleted.
        """
        try:
            self._fs.rm(self._at(folder), recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("deleted", folder, error) from error

    def _entries(self, folder: str) -> list[dict[str, str]]:
        self._fs.invalidate_cache(self._at(folder))
        try:
            found: list[dict[str, str]] = self._fs.ls(self._at(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._failed("listed", folder, error) from error
        return sorted(found, key=lambda one: one["name"])

    def _at(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    def _failed(self, verb: str, path: str, error: OSError) -> ArchiveError:
        return ArchiveError(f"{redact_url(self.url)}/{path} cannot be {verb}: {error}")


def _names(protocol: str | tuple[str, ...]) -> tuple[str, ...]:
    return (protocol,) if isinstance(protocol, str) else protocol
