"""Addresses of files and folders: local paths, or what fsspec opens."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from maskstream.core.errors import ArchiveError, InputError, SourceError
from maskstream.core.redaction import redact_url

_LOCAL = LocalFileSystem()


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine. Colons may be a part of a file's name."""
    return "://" not in address


def locate(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of an address, and its path there.

    Raises:
        InputError: there is no such kind of address, or what it needs is not installed.
    """
    if is_local(address):
        return _LOCAL, os.path.abspath(address)
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise InputError(f"{redact_url(address)}: {error}") from error
    return fs, str(path)


def address_of(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """The address that opens a path of a filesystem."""
    return path if fs is _LOCAL else str(fs.unstrip_protocol(path))


def info_of(address: str) -> dict[str, Any] | None:
    """What the filesystem says about a file or folder; None if there is none.

    Raises:
        ArchiveError: the filesystem does not answer.
    """
    fs, path = locate(address)
    try:
        info: dict[str, Any] = fs.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ArchiveError(f"{redact_url(address)} cannot be looked at: {error}") from error
    return info


def read_range(address: str, start: int, end: int) -> bytes:
    """Bytes ``start`` to before ``end`` of a file.

    Raises:
        SourceError: it cannot be read.
    """
    fs, path = locate(address)
    try:
        content: bytes = fs.cat_file(path, start=start, end=end)
    except OSError as error:
        raise SourceError(f"{redact_url(address)} cannot be read: {error}") from error
    return content


@contextlib.contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """A path at which decoders can open a file. What is elsewhere is copied to this machine.

    Raises:
        SourceError: it cannot be read.
    """
    if is_local(address):
        yield Path(os.path.abspath(address))
        return
    fs, path = locate(address)
    with tempfile.TemporaryDirectory(prefix="maskstream-") as folder:
        copy = Path(folder) / os.path.basename(path)
        try:
            with fs.open(path, "rb") as remote, copy.open("wb") as local:
                shutil.copyfileobj(remote, local, 2**22)
        except OSError as error:
            raise SourceError(f"{redact_url(address)} cannot be read: {error}") from error
        yield copy
