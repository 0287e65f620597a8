"""Who may use the service: tokens, kept as hashes, each with its owner.

A file of tokens has one line for each: the SHA-256 of the token in hexadecimal, the owner, and
``admin`` if the owner may see everybody's sessions. Empty lines and lines that begin with ``#`` are
passed over. A token is 32 random bytes, so a fast hash is enough: it cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from maskstream.core.errors import ConfigError
from maskstream.pipeline.api.fields import Owner

_HEX_DIGITS = 64
_OWNER: TypeAdapter[str] = TypeAdapter(Owner)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        owner: owns the sessions that the caller starts.
        is_admin: the caller may use the sessions of all owners.
    """

    owner: str
    is_admin: bool = False


def make_token(owner: str, *, is_admin: bool = False) -> tuple[str, str]:
    """Make a token.

    Returns:
        The token, and its line for the file.

    Raises:
        ConfigError: the owner's name cannot be used.
    """
    token = secrets.token_urlsafe(32)
    line = f"{_hash(token)} {_checked_owner(owner)}" + (" admin" if is_admin else "")
    return token, line


class Tokens:
    """The known tokens. A change of the file holds from the next request on.

    Args:
        file: the file of tokens; None: there is none.
        admin_token: a token of the administrator, beside those of the file.

    Raises:
        ConfigError: the file cannot be read, or has a line that is no token.
    """

    def __init__(self, file: Path | None, admin_token: str | None = None) -> None:
        self._file = file
        self._fixed = {} if admin_token is None else {_hash(admin_token): Caller("admin", True)}
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._callers: dict[str, Caller] = dict(self._fixed)
        self._refresh()

    def caller(self, token: str) -> Caller | None:
        """Whose token it is; None: nobody's."""
        self._refresh()
        wanted, found = _hash(token), None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, wanted):
                found = caller
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        with self._lock:
            try:
                status = self._file.stat()
                stamp = (status.st_mtime_ns, status.st_size)
                if stamp == self._stamp:
                    return
                text = self._file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"the file of tokens cannot be read: {error}") from error
            self._callers = self._fixed | _parse(text, self._file)
            self._stamp = stamp


def _parse(text: str, file: Path) -> dict[str, Caller]:
    callers = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        digest, *rest = parts
        is_hash = len(digest) == _HEX_DIGITS and set(digest) <= set("0123456789abcdef")
        if not is_hash or len(rest) not in (1, 2) or rest[1:] not in ([], ["admin"]):
            raise ConfigError(
                f"{file}, line {number}: expected the SHA-256 of a token, its owner, and admin or "
                "nothing; maskstream web-token makes such a line"
            )
        callers[digest] = Caller(_checked_owner(rest[0]), is_admin=len(rest) == 2)
    return callers


def _checked_owner(owner: str) -> str:
    try:
        checked = _OWNER.validate_python(owner)
    except ValidationError as error:
        raise ConfigError(
            f"the owner {owner!r:.80} cannot be used: {error.errors()[0]['msg']}"
        ) from None
    if len(checked.split()) != 1:
        raise ConfigError(f"the owner {owner!r:.80} has spaces; an owner of a token is one word")
    return checked


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
