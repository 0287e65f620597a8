"""Uploaded files: written to disk as they come, into a folder that the runtime can read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from maskstream.core.errors import OutputError
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.problems import HttpError

_VIDEOS = ("mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "mts", "m2ts", "mpg", "mpeg", "ogv")
_PICTURES = ("gif", "webp", "jpg", "jpeg", "png", "avif", "tif", "tiff", "bmp")
_SUFFIXES = tuple(f".{name}" for name in (*_VIDEOS, *_PICTURES))
_MAX_NAME = 100
_PART = ".part"


class Uploads:
    """The folder of uploads.

    Promises: a file appears under its name when it is whole. One that is cut off, too large or of
    an unknown kind leaves nothing.

    Args:
        config: the folder and its limits.
    """

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        self._writing = 0  # bytes of files that are being written

    async def write(
        self, owner: str, name: str, size: int | None, body: AsyncIterator[bytes]
    ) -> Path:
        """Write a file.

        Args:
            owner: whose file it is; each owner has a folder.
            name: its name; only its last part counts.
            size: its size as announced, or None.
            body: its content.

        Returns:
            The file's path.

        Raises:
            HttpError: it cannot be taken; the status says why.
            OutputError: it cannot be written.
        """
        root, safe = self._root(), _safe_name(name)
        used = await to_thread.run_sync(_bytes_in, root)
        self._check_size(size or 0, used)
        folder = root / hashlib.sha256(owner.encode()).hexdigest()[:16]
        path = folder / f"{secrets.token_hex(8)}-{safe}"
        part = path.with_name(path.name + _PART)
        try:
            await self._stream(part, body, used)
            await to_thread.run_sync(os.replace, part, path)
        except OSError as error:
            raise OutputError(f"the upload cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    async def _stream(self, part: Path, body: AsyncIterator[bytes], used: int) -> None:
        taken = 0
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            try:
                async for chunk in _timed(body, self._config.request_timeout_s):
                    taken += len(chunk)
                    self._writing += len(chunk)
                    self._check_size(taken, used)
                    await to_thread.run_sync(file.write, chunk)
                file.flush()
                await to_thread.run_sync(os.fsync, file.fileno())
            finally:
                self._writing -= taken
        if taken == 0:
            raise HttpError(400, "the upload is empty; its body is the file's content")

    def _root(self) -> Path:
        root = self._config.uploads
        if root is None:
            raise HttpError(403, "this service takes no uploads; start it with --uploads DIR")
        if not root.is_dir():
            raise HttpError(503, "the folder of uploads is gone")
        return root

    def _check_size(self, size: int, used: int) -> None:
        """Check the size of a file so far; ``used`` is what lay in the folder before."""
        if size > self._config.max_upload_bytes:
            raise HttpError(413, f"the file is larger than {self._config.max_upload_bytes} bytes")
        if used + max(size, self._writing) > self._config.max_uploads_bytes:
            raise HttpError(507, "the folder of uploads is full; delete what is not needed")


def _bytes_in(folder: Path) -> int:
    """The bytes of all whole files below a folder. Those being written are counted elsewhere."""
    used = 0
    for path in folder.rglob("*"):
        if path.suffix != _PART:
            with suppress(FileNotFoundError):  # deleted at this moment
                used += path.lstat().st_size if path.is_file() else 0
    return used


def _safe_name(name: str) -> str:
    """The last part of a name, without what a filesystem or a page could misread."""
    last = name.replace("\\", "/").rpartition("/")[2]
    suffix = os.path.splitext(last)[1].lower()
    if suffix not in _SUFFIXES:
        known = " ".join(_SUFFIXES)
        raise HttpError(415, f"files with the suffix {suffix!r:.20} are not taken; known: {known}")
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in last[: -len(suffix)])
    return (stem.strip(".")[:_MAX_NAME] or "upload") + suffix


async def _timed(body: AsyncIterator[bytes], timeout_s: float) -> AsyncIterator[bytes]:
    """The parts of a body; an error if one does not come for too long."""
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                chunk = await anext(body, None)
        except TimeoutError:
            raise HttpError(408, f"nothing of the upload came for {timeout_s:g} s") from None
        if chunk is None:
            return
        yield chunk
