"""Lists the files of archives: folders, globs, manifests, single files."""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fsspec

from maskstream.core.errors import ArchiveError, InputError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.plan.addresses import address_of, info_of, is_local, locate
from maskstream.pipeline.archive.plan.manifests import is_manifest, read_manifest

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc",
    ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on
"""Files of a folder with another suffix are passed over; files that are named are not."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of an archive.

    Attributes:
        url: the address that opens it.
        size_bytes: None if there is no such file, or its filesystem does not say.
        modified_s: when it was written, in seconds since 1970; None if its filesystem does not say.
        etag: what an object store calls its content.
        recorded_at: from a manifest.
        is_missing: a manifest names it, and it does not exist.
    """

    url: str
    size_bytes: int | None = None
    modified_s: float | None = None
    etag: str | None = None
    recorded_at: datetime | None = None
    is_missing: bool = False

    @property
    def source(self) -> str:
        """The address without credentials: what the index calls the file."""
        return redact_url(self.url)


def list_archives(archives: Sequence[str]) -> Iterator[Listed]:
    """The files of archives, one by one, each once; those of a folder by name.

    Args:
        archives: each a folder (with all below it), a file, a glob, or a manifest.

    Raises:
        InputError: an archive does not exist, or a manifest cannot be read.
        ArchiveError: a folder cannot be listed.
    """
    seen: set[str] = set()
    for archive in archives:
        for one in _list_archive(archive):
            if one.url not in seen:
                seen.add(one.url)
                yield one


def _list_archive(archive: str) -> Iterator[Listed]:
    info = info_of(archive)
    if info is None:
        if not glob.has_magic(archive):
            raise InputError(f"{redact_url(archive)} does not exist")
        yield from _list_glob(archive)
    elif info["type"] == "directory":
        fs, path = locate(archive)
        yield from _list_local(path) if is_local(archive) else _list_remote(fs, path)
    elif is_manifest(archive):
        yield from _list_manifest(archive)
    else:
        yield _listed(archive if not is_local(archive) else os.path.abspath(archive), info)


def _list_local(folder: str) -> Iterator[Listed]:
    """Links to folders are not followed, so that no loop is."""

    def give_up(error: OSError) -> None:
        raise ArchiveError(f"{error.filename} cannot be listed: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=give_up):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(parent, name)
            if _is_video_name(name) and os.path.exists(path):
                status = os.stat(path)
                yield Listed(path, status.st_size, status.st_mtime)


def _list_remote(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[Listed]:
    try:
        for _, folders, files in fs.walk(folder, detail=True):
            for hidden in [name for name in folders if name.startswith(".")]:
                del folders[hidden]
            for name in sorted(files):
                if _is_video_name(name):
                    yield _listed(address_of(fs, files[name]["name"]), files[name])
    except OSError as error:
        raise ArchiveError(f"{folder} cannot be listed: {error}") from error


def _list_glob(pattern: str) -> Iterator[Listed]:
    fs, path = locate(pattern)
    found = fs.glob(path, detail=True)
    files = [name for name in sorted(found) if found[name]["type"] == "file"]
    if not files:
        raise InputError(f"no file matches {redact_url(pattern)}")
    for name in files:
        yield _listed(address_of(fs, name), found[name])


def _list_manifest(manifest: str) -> Iterator[Listed]:
    for entry in read_manifest(manifest):
        yield look_up(entry.source, entry.recorded_at)


def look_up(address: str, recorded_at: datetime | None = None) -> Listed:
    """A file by its address, also one that does not exist.

    Raises:
        ArchiveError: its filesystem does not answer.
    """
    url = os.path.abspath(address) if is_local(address) else address
    info = info_of(url)
    if info is None or info["type"] != "file":
        return Listed(url, recorded_at=recorded_at, is_missing=True)
    return _listed(url, info, recorded_at)


def _listed(url: str, info: dict[str, Any], recorded_at: datetime | None = None) -> Listed:
    modified = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "updated", "created")
         if info.get(key) is not None),
        None,
    )  # fmt: skip
    if isinstance(modified, datetime):
        modified = modified.timestamp()
    return Listed(
        url,
        info.get("size"),
        modified if isinstance(modified, int | float) else None,
        info.get("ETag") or info.get("etag"),
        recorded_at,
    )


def _is_video_name(name: str) -> bool:
    return not name.startswith(".") and posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES
