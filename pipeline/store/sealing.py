"""Sealing: the credentials of sources are encrypted before they are stored in Redis.

All processes that start or run sessions with such sources hold the same key; Redis does not. A text
is encrypted with the key stream HMAC-SHA256(key, nonce ‖ counter) and authenticated, together with
the session's id, by HMAC-SHA256 under a second key (encrypt-then-MAC); both keys are derived from
the one that was given. A nonce is 32 random bytes and is never used twice.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from maskstream.core.errors import ConfigError, StoreError

KEY_VARIABLE = "MASKSTREAM_SECRET_KEY"
KEY_FILE = "secret.key"
MIN_KEY_BYTES = 32

_NONCE_BYTES = 32
_TAG_BYTES = 32


class Sealer:
    """Seals and opens texts.

    Args:
        key: at least 32 bytes; None: nothing can be sealed.

    Raises:
        ConfigError: the key is too short.
    """

    def __init__(self, key: bytes | None) -> None:
        if key is not None and len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"the secret key has {len(key)} bytes; give {MIN_KEY_BYTES} random ones or more"
            )
        self._stream_key = None if key is None else _derive(key, b"maskstream stream")
        self._tag_key = b"" if key is None else _derive(key, b"maskstream tag")

    def __repr__(self) -> str:
        return "Sealer()"

    @property
    def ready(self) -> bool:
        return self._stream_key is not None

    def seal(self, text: str, context: str) -> bytes:
        """Encrypt.

        Args:
            context: names what the text belongs to; ``unseal`` needs the same.

        Raises:
            ConfigError: there is no key.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        body = self._xor(text.encode(), nonce)
        return nonce + body + self._tag(nonce + body, context)

    def unseal(self, sealed: bytes, context: str) -> str:
        """Undo ``seal``.

        Raises:
            ConfigError: there is no key.
            StoreError: it was sealed with another key or in another context, or was changed.
        """
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:-_TAG_BYTES]
        clear = self._xor(body, nonce)
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES or not hmac.compare_digest(
            sealed[-_TAG_BYTES:], self._tag(nonce + body, context)
        ):
            raise StoreError(
                f"the credentials of {context} cannot be opened: they were sealed with another "
                f"key; give all processes the same {KEY_VARIABLE}"
            )
        return clear.decode()

    def _xor(self, data: bytes, nonce: bytes) -> bytes:
        if self._stream_key is None:
            raise ConfigError(
                "a source with credentials needs a key to keep them sealed in Redis: set "
                f"{KEY_VARIABLE} to the same {2 * MIN_KEY_BYTES} random hexadecimal digits for the "
                "runtime and its clients (openssl rand -hex 32)"
            )
        num_blocks = -(-len(data) // 32)
        stream = b"".join(
            hmac.digest(self._stream_key, nonce + number.to_bytes(8, "big"), "sha256")
            for number in range(num_blocks)
        )
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))

    def _tag(self, data: bytes, context: str) -> bytes:
        name = hashlib.sha256(context.encode()).digest()
        return hmac.digest(self._tag_key, name + data, "sha256")


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, purpose, "sha256")


def find_key(url: str | None) -> bytes | None:
    """The key for a store at ``url``: from the environment, or from the folder of its unix socket.

    There an embedded server keeps its key: who may connect to the socket may also read the key.

    Raises:
        ConfigError: the key in the environment is not hexadecimal.
    """
    text = os.environ.get(KEY_VARIABLE)
    if text:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise ConfigError(
                f"{KEY_VARIABLE} is not hexadecimal; give {2 * MIN_KEY_BYTES} random digits "
                "(openssl rand -hex 32)"
            ) from None
    parts = urlsplit(url or "")
    if parts.scheme != "unix":
        return None
    try:
        return (Path(parts.path).parent / KEY_FILE).read_bytes()
    except OSError:
        return None


def write_key(folder: Path) -> bytes:
    """Write a new key into ``folder``, readable by its owner only, or read the one in it."""
    path = folder / KEY_FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    key = secrets.token_bytes(MIN_KEY_BYTES)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
    return key
