"""The connection to a Redis server: time-outs, bounded retries, errors that say what to do."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import redis

from maskstream.core.errors import ConfigError, SessionNotFoundError, StoreError
from maskstream.core.redaction import redact, redact_url
from maskstream.pipeline.store import problems, stored
from maskstream.pipeline.store.keys import Keys
from maskstream.pipeline.store.patience import Patience
from maskstream.pipeline.store.scripts import SCRIPTS

T = TypeVar("T")

OLDEST_VERSION = (6, 2)
MAX_BLOCK_S = 1.0

_SCHEMES = ("redis", "rediss", "unix")
_CORRUPT = re.compile(r"CORRUPT (\S+) (\w+)\.")


class Connection:
    """Runs scripts on one server. Any thread may use it; a forked process gets its own sockets.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password if needed.
        timeout_s: how long connecting may take, and each answer.
        retry_for_s: how long a command is repeated while the server is away, in seconds. The first
            one waits only for a server that is there and loads its data: else the URL is wrong.

    Raises:
        ConfigError: the URL is none of these.
        StoreError: the server cannot be used; the message says why.
    """

    def __init__(self, url: str, keys: Keys, *, timeout_s: float, retry_for_s: float) -> None:
        self.url = url
        self.keys = keys
        self.shown = redact_url(url).partition("?")[0]
        # Waiting for news takes up to MAX_BLOCK_S on the server's side.
        common: dict[str, Any] = {
            "socket_timeout": timeout_s + MAX_BLOCK_S,
            "socket_connect_timeout": timeout_s,
        }
        scheme = urlsplit(url).scheme
        if scheme not in _SCHEMES:
            raise ConfigError(
                f"{self.shown!r} is no Redis URL: give redis://host:port/0, rediss://… for TLS, "
                "or unix:///path/to/socket"
            )
        if scheme == "unix":
            del common["socket_connect_timeout"]
        loading = Patience(retry_for_s, (redis.exceptions.BusyLoadingError,))
        try:
            self._redis = redis.Redis.from_url(url, retry=Patience(retry_for_s), **common)
            probe = redis.Redis.from_url(url, retry=loading, **common)
        except (ValueError, TypeError):
            # What redis-py says here may quote the password.
            raise ConfigError(
                f"{self.shown!r} is not a usable Redis URL; characters of a password such as "
                "@ / : # must be percent-encoded"
            ) from None
        self._scripts = {name: self._redis.register_script(text) for name, text in SCRIPTS.items()}
        try:
            self.incarnation = self._first_contact(probe)
        finally:
            probe.close()

    def __repr__(self) -> str:
        return f"Connection({self.shown!r})"

    def close(self) -> None:
        self._redis.close()

    def ping(self) -> None:
        with self._errors():
            self._redis.ping()

    def run(self, script: str, session_id: str, *arguments: str | int | bytes) -> list[Any]:
        """Run one of the scripts.

        Raises:
            StoreError: the server is away, refuses, or holds something unreadable.
        """
        with self._errors(session_id):
            answer = self._scripts[script](
                keys=list(self.keys.types(session_id)), args=[session_id, *arguments]
            )
        return [answer[0].decode(), *answer[1:]]

    def run_in_session(
        self, script: str, session_id: str, *arguments: str | int | bytes
    ) -> list[Any]:
        """Run a script, and raise an error when it answers missing, superseded or limit.

        Raises:
            SessionNotFoundError: there is no such session.
            SessionLimitError: a limit of the session would be exceeded.
            SessionError: the writer was superseded.
            StoreError: see ``run``; or the server has lost its data, or the session's state is none
                that we have written.
        """
        if not problems.is_session_id(session_id):
            raise SessionNotFoundError.of(session_id)
        answer = self.run(script, session_id, *arguments)
        if answer[0] == "missing":
            self._missing(session_id)
        if answer[0] == "superseded":
            raise problems.superseded(session_id)
        if answer[0] == "refused":
            stored.state(answer[1], self.keys.session(session_id))
        if answer[0] == "limit":
            raise problems.limit(session_id, answer[2].decode(), int(answer[1]))
        return answer

    def wait(
        self, session_id: str, look: Callable[[], tuple[T, bool, bytes]], timeout_s: float
    ) -> T:
        """Look again at every event, until ``look`` is done or the time is up.

        Args:
            look: returns a value, whether it is the one waited for, and the newest event at the
                time of looking.

        Returns:
            The last value.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            value, done, event = look()
            left = deadline - time.monotonic()
            if done or left <= 0:
                return value
            self.sleep_until_news(self.keys.events(session_id), event, left)

    def sleep_until_news(self, stream: str, seen: bytes, timeout_s: float) -> None:
        """Wait until a stream has an entry newer than ``seen``, for ``MAX_BLOCK_S`` at most."""
        block_ms = max(1, int(min(timeout_s, MAX_BLOCK_S) * 1000))
        with self._errors():
            self._redis.xread({stream: seen}, count=1, block=block_ms)

    def set_fields(self, key: str, fields: dict[str, int]) -> None:
        with self._errors():
            self._redis.hset(key, mapping={name: str(value) for name, value in fields.items()})

    def set_for(self, key: str, seconds: float) -> None:
        """Set a key that goes by itself after so long."""
        with self._errors():
            self._redis.set(key, "1", px=round(seconds * 1000))

    def exists(self, key: str) -> bool:
        with self._errors():
            return bool(self._redis.exists(key))

    def add_capped(self, key: str, number: int, value: bytes, most: int, seconds: float) -> None:
        """Add an entry to a stream of the newest ``most``, which goes by itself after so long.

        An entry whose number is not above that of the newest one is left out.
        """
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, {"v": value}, id=f"{number}-0", maxlen=most, approximate=False)
            pipe.pexpire(key, round(seconds * 1000))
            for answer in pipe.execute(raise_on_error=False):
                if isinstance(answer, redis.RedisError) and "equal or smaller" not in str(answer):
                    raise answer

    def read_entry(self, key: str, number: int) -> bytes | None:
        """The value that ``add_capped`` has added under a number; None if it is not there."""
        with self._errors():
            found = self._redis.xrange(key, f"{number}-0", f"{number}-0")
        fields = found[0][1] if found else None
        value = None if fields is None else fields.get(b"v")
        return value if isinstance(value, bytes) else None

    def lost_data(self) -> bool:
        """Whether the server has lost the data that it had when this connection was opened."""
        with self._errors():
            return self._redis.get(self.keys.incarnation) != self.incarnation

    def _first_contact(self, probe: redis.Redis) -> bytes:
        """Check the server's version. Returns the name of its data set; a new one gets a name."""
        with self._errors():
            version = str(probe.info("server").get("redis_version", ""))
            numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
            if numbers < OLDEST_VERSION:
                raise StoreError(
                    f"the server at {self.shown} is Redis {version or '?'}; 6.2 or newer, or "
                    "Valkey, is needed"
                )
            name = secrets.token_hex(8)
            probe.set(self.keys.incarnation, name, nx=True)
            found = probe.get(self.keys.incarnation)
        return found if isinstance(found, bytes) else name.encode()

    def adopt_data(self) -> None:
        """Go on with the data set that the server has now: for a caller that starts anew after it
        lost the old one.
        """
        with self._errors():
            self._redis.set(self.keys.incarnation, secrets.token_hex(8), nx=True)
            found = self._redis.get(self.keys.incarnation)
        self.incarnation = found if isinstance(found, bytes) else b""

    def _missing(self, session_id: str) -> NoReturn:
        if self.lost_data():
            raise StoreError(
                f"the Redis server at {self.shown} has lost its data, and session {session_id!r} "
                "with it: it was restarted without persistence, or emptied; switch on appendonly "
                "there, and start the session again"
            )
        raise SessionNotFoundError.of(session_id)

    @contextmanager
    def _errors(self, session_id: str | None = None) -> Iterator[None]:
        """Raise errors of redis-py as ours; not chained, since they may quote what was sent."""
        try:
            yield
        except (redis.AuthenticationError, redis.exceptions.AuthorizationError):
            raise StoreError(
                f"the server at {self.shown} is there but refuses the user name or password; "
                "correct them in the URL (redis://user:password@host:port)"
            ) from None
        except redis.exceptions.NoPermissionError as error:
            raise StoreError(
                f"the user of {self.shown} lacks a permission: {redact(str(error))}"
            ) from None
        except redis.TimeoutError:
            raise StoreError(
                f"the server at {self.shown} does not answer in time; is it overloaded or frozen?"
            ) from None
        except redis.exceptions.BusyLoadingError:
            raise StoreError(f"the server at {self.shown} is still loading its data") from None
        except redis.ConnectionError as error:
            raise StoreError(
                f"no Redis server can be reached at {self.shown}: {redact(str(error))}"
            ) from None
        except redis.exceptions.OutOfMemoryError:
            raise StoreError(
                f"the server at {self.shown} is out of memory; raise its maxmemory or close "
                "sessions"
            ) from None
        except redis.RedisError as error:
            raise self._data_error(str(error), session_id) from None

    def _data_error(self, message: str, session_id: str | None) -> StoreError:
        corrupt = _CORRUPT.search(message)
        if corrupt:
            key, field = corrupt.groups()
            return StoreError(
                f"field {field} of {key} is not what maskstream writes; something else has "
                "written to it; delete the session",
                key=key,
                entry=field,
            )
        if "WRONGTYPE" in message and session_id is not None:
            for key, kind in self.keys.types(session_id).items():
                found = _text(self._redis.type(key))
                if found not in ("none", kind):
                    return StoreError(
                        f"{key} is a {found} where maskstream has a {kind}; something else has "
                        "written to it; delete the session",
                        key=key,
                    )
        return StoreError(f"the server at {self.shown} refuses: {redact(message)[:300]}")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
