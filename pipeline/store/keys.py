"""Every Redis key there is: its name, type, fields and expiry.

All names begin with one namespace, ``maskstream`` unless told otherwise. ``<id>`` is a session id.

Of one session. All expire together, ``expire_after_s`` after the session was last used:

key                       type    holds
<ns>:session:<id>         hash    record (JSON), limits (JSON), counters (JSON), state, reason,
                                  nonce, change, created_ms, updated_ms, expire_ms, epoch, writer,
                                  work_id, lease_ms, num_prompts, journal_sequence,
                                  journal_bytes, settled_sequence, result_sequence, read_sequence,
                                  result_epoch, result_step, stats (JSON)
<ns>:secret:<id>          string  the source with its credentials, sealed
<ns>:journal:<id>         stream  <sequence>-0 → entry (JSON), ms
<ns>:outcomes:<id>        hash    sequence → outcome (JSON)
<ns>:requests:<id>        hash    request id → sequence, so that a retry is no second prompt
<ns>:results:<id>         stream  <sequence>-0 → entry (JSON), ms; capped by age and length
<ns>:checkpoint:<id>      hash    blob (bytes), meta (JSON), epoch, step
<ns>:frames:<id>          stream  <sequence>-0 → blob, pts, ms; pushed frames not done with yet
<ns>:pushed:<id>          hash    sequence, taken, waiting, dropped, end; only of sessions whose
                                  frames are pushed
<ns>:events:<id>          stream  * → e; the newest 8 changes, which wake those who wait

For those who watch a session. They expire by themselves, within a minute:

key                       type    holds
<ns>:watched:<id>         string  somebody watches
<ns>:pictures:<id>        stream  <microseconds>-0 → JPEG; the newest 128

Of the service. These do not expire; scripts remove what they hold of expired sessions:

key                       type    holds
<ns>:sessions             zset    session id by the time it expires, in ms
<ns>:owners               hash    session id → owner, of sessions that count as open
<ns>:limits               hash    max_sessions, max_sessions_per_owner
<ns>:work                 stream  * → session; consumer group ``runtimes``, one consumer a runtime;
                                  an entry is acknowledged when its session is over
<ns>:incarnation          string  a random name of this data set; if it changes or is missing, the
                                  server has lost its data

Times are in milliseconds of the server's clock. Sequences begin at 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maskstream.core.errors import ConfigError

DEFAULT_NAMESPACE = "maskstream"
RUNTIMES_GROUP = "runtimes"

_NAMESPACE = re.compile(r"[A-Za-z0-9_.{}-]{1,64}")

# In the order in which the scripts take them. In a key the id comes last: it may hold colons.
_SESSION_KEYS = {
    "session": "hash",
    "secret": "string",
    "journal": "stream",
    "outcomes": "hash",
    "requests": "hash",
    "results": "stream",
    "checkpoint": "hash",
    "events": "stream",
    "frames": "stream",
    "pushed": "hash",
}
_SERVICE_KEYS = {"sessions": "zset", "owners": "hash", "limits": "hash", "work": "stream"}


@dataclass(frozen=True, slots=True)
class Keys:
    """The names in one namespace.

    Raises:
        ConfigError: the namespace holds other characters than letters, digits and ``_.{}-``, or
            is empty or longer than 64.
    """

    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ConfigError(
                f"Redis namespace {self.namespace!r:.80} is not usable: give 1 to 64 letters, "
                "digits and _ . { } -"
            )

    @property
    def sessions(self) -> str:
        return f"{self.namespace}:sessions"

    @property
    def limits(self) -> str:
        return f"{self.namespace}:limits"

    @property
    def work(self) -> str:
        return f"{self.namespace}:work"

    @property
    def incarnation(self) -> str:
        return f"{self.namespace}:incarnation"

    def session(self, session_id: str) -> str:
        return f"{self.namespace}:session:{session_id}"

    def secret(self, session_id: str) -> str:
        return f"{self.namespace}:secret:{session_id}"

    def journal(self, session_id: str) -> str:
        return f"{self.namespace}:journal:{session_id}"

    def outcomes(self, session_id: str) -> str:
        return f"{self.namespace}:outcomes:{session_id}"

    def results(self, session_id: str) -> str:
        return f"{self.namespace}:results:{session_id}"

    def checkpoint(self, session_id: str) -> str:
        return f"{self.namespace}:checkpoint:{session_id}"

    def frames(self, session_id: str) -> str:
        return f"{self.namespace}:frames:{session_id}"

    def pushed(self, session_id: str) -> str:
        return f"{self.namespace}:pushed:{session_id}"

    def events(self, session_id: str) -> str:
        return f"{self.namespace}:events:{session_id}"

    def watched(self, session_id: str) -> str:
        return f"{self.namespace}:watched:{session_id}"

    def pictures(self, session_id: str) -> str:
        return f"{self.namespace}:pictures:{session_id}"

    def types(self, session_id: str) -> dict[str, str]:
        """All keys that concern one session, with their types, as every script takes them."""
        of_session = {
            f"{self.namespace}:{name}:{session_id}": kind for name, kind in _SESSION_KEYS.items()
        }
        of_service = {f"{self.namespace}:{name}": kind for name, kind in _SERVICE_KEYS.items()}
        return of_session | of_service
