"""Addresses of sources: checked against what is allowed, and shown without credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from maskstream.core.errors import InputError, SourceError
from maskstream.core.redaction import HIDDEN, redact, redact_url, secret_parameters
from maskstream.pipeline.live.config import LiveConfig
from maskstream.pipeline.sources.roots import AllowedRoots

AddressKind = Literal["stream", "file", "device"]

_MAX_LENGTH = 4096
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DEVICE = re.compile(r"/dev/video\d+")


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """The address of a source, checked. Only ``reveal()`` shows its credentials.

    Attributes:
        kind: ``stream`` is opened by URL, ``file`` is a file or folder, ``device`` a camera.
        scheme: lower-case; ``file`` and ``v4l2`` for paths.
        shown: what may be written anywhere.
    """

    kind: AddressKind
    scheme: str
    shown: str
    _location: str = field(repr=False)
    _secrets: tuple[str, ...] = field(repr=False, default=())

    def __str__(self) -> str:
        return self.shown

    def reveal(self) -> str:
        """The URL or path with its credentials: to connect with, and for nothing else."""
        return self._location

    def scrub(self, text: str) -> str:
        """Take this address's credentials out of a text, such as FFmpeg's own words."""
        text = text.replace(self._location, self.shown)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return redact(text)


def parse_address(source: str | Path, config: LiveConfig) -> SourceAddress:
    """Find out what a source is, and whether it is allowed.

    Raises:
        InputError: it is no URL or path, or its scheme or place is not allowed.
        SourceError: the path does not exist.
    """
    text = str(source)
    if not text.strip() or len(text) > _MAX_LENGTH or any(ord(c) < 32 for c in text):
        raise InputError(
            "the source is empty, has control characters or is longer than "
            f"{_MAX_LENGTH} characters; expected a URL or the path of a file or folder"
        )
    scheme = _SCHEME.match(text) if isinstance(source, str) else None
    if scheme is None or (":/" not in text and Path(text).exists()):
        return _parse_path(text, config)
    name = scheme[1].lower()
    if name not in config.allowed_schemes:
        raise InputError(
            f"source {redact_url(text)!r}: the scheme {name!r} is not allowed; "
            f"allowed are {', '.join(sorted(config.allowed_schemes))}"
        )
    if name in ("file", "v4l2"):
        return _parse_path(_path_of(text, name), config)
    return _parse_url(text, name, config)


def _path_of(text: str, scheme: str) -> str:
    path = text[len(scheme) + 1 :]
    if path.startswith("//"):
        host, _, rest = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise InputError(
                f"source {redact_url(text)!r}: a {scheme} URL names no host; expected {scheme}:///"
            )
        path = "/" + rest
    return unquote(path)


def _parse_url(text: str, scheme: str, config: LiveConfig) -> SourceAddress:
    shown = redact_url(text)
    if _has_raw_password(text, scheme):
        raise InputError(
            f"source {shown!r}: an @ follows a # ? or /. In a password write %23 for #, %2F for / "
            "and %3F for ?; in a path write %40 for @"
        )
    parts = _split(text)
    if parts is None:
        raise InputError(
            f"source {shown!r} is not a valid URL; expected {scheme}://user:password@host:port/path"
            " with special characters of the password as %XX"
        )
    if not text.partition(":")[2].startswith("//") or not parts.hostname or re.search(r"\s", text):
        raise InputError(f"source {shown!r} is not a valid URL; expected {scheme}://host/path")
    if config.hosts is not None:
        config.hosts.check_literal(parts.hostname)
    return SourceAddress("stream", scheme, shown, text, _secrets_of(parts))


def _has_raw_password(text: str, scheme: str) -> bool:
    """Whether a # ? or / seems to stand in a password: what is before it would be taken for the
    host. An @ in the query of a camera's path is none of these.
    """
    if scheme not in ("rtsp", "rtsps"):
        return False
    location = text.partition("://")[2]
    authority = re.split("[/?#]", location, maxsplit=1)[0]
    rest = location[len(authority) :]
    if rest.startswith("/"):
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    return ":" in authority and "@" in rest


def _split(text: str) -> SplitResult | None:
    """The parts of a URL; None when it is none. The error would quote what may be a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises when it is no number
    except ValueError:
        return None
    return parts


def _secrets_of(parts: SplitResult) -> tuple[str, ...]:
    """User names, passwords and tokens, percent-encoded and decoded, longest first."""
    found = {parts.netloc.rpartition("@")[0], parts.username or "", parts.password or ""}
    found |= set(secret_parameters(parts.geturl()))
    secrets = found | {unquote(secret) for secret in found}
    return tuple(sorted((s for s in secrets if len(s) > 2), key=len, reverse=True))


def _parse_path(text: str, config: LiveConfig) -> SourceAddress:
    if _DEVICE.fullmatch(text):
        if "v4l2" not in config.allowed_schemes:
            raise InputError(
                f"source {redact_url(text)!r}: cameras of this machine are not allowed"
            )
        return SourceAddress("device", "v4l2", text, text)
    if "file" not in config.allowed_schemes:
        raise InputError(f"source {redact_url(text)!r}: files are not allowed")
    # It is resolved first, so that neither ".." nor a link leads out of the allowed folders.
    path = AllowedRoots.of(config.allowed_roots).resolve(text)
    if not path.exists():
        raise SourceError(f"{redact_url(text)} does not exist")
    return SourceAddress("file", "file", str(path), str(path))
