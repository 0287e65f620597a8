"""The one tree of exceptions.

MaskstreamError
├── InputError            the caller gave something that cannot be used (also a ValueError)
│   ├── ImageError        a picture of wrong shape, dtype or size, or with NaN
│   ├── PromptError       a text, point, box or mask that cannot be used as a prompt
│   ├── RequestError      a malformed session request; ``faults`` names every fault
│   └── ConfigError       configuration values that do not fit together
├── CheckpointError       an unreadable checkpoint; a missing, extra or misshapen tensor
├── SourceError           a source that cannot be opened or decoded
├── SessionError          a session that cannot do what was asked
│   ├── SessionNotFoundError
│   └── SessionLimitError
├── StoreError            a session store out of reach, or an entry of it that cannot be read
├── ArchiveError          an archive or an index that cannot do what was asked
│   ├── IndexFormatError  an index of another version, or a file of it that cannot be read
│   ├── IndexBusyError    another process builds on the index
│   ├── IndexMismatchError  an index of other settings or another checkpoint
│   └── NotIndexedError   nothing like it was looked for when the index was built
├── RuntimeFailedError    a runtime that can serve no more; its sessions are free for another
└── OutputError           results that cannot be written

Every message says what was wrong, where, and what would be right.
"""

from __future__ import annotations

from collections.abc import Sequence


class MaskstreamError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(MaskstreamError, ValueError):
    """The caller gave something that cannot be used; nothing was changed."""


class ImageError(InputError):
    """A picture of wrong shape, dtype or size, or one that holds NaN."""


class PromptError(InputError):
    """A text, point, box or mask that cannot be used as a prompt."""


class RequestError(InputError):
    """A session request that was rejected whole.

    Attributes:
        faults: one sentence, on one line, for every fault that was found.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = [fault.replace("\n", " ") for fault in faults]
        super().__init__("request rejected: " + "; ".join(self.faults))

    def __reduce__(self) -> tuple[type[RequestError], tuple[list[str]]]:
        """Travel between processes whole: Ray hands errors on as pickles."""
        return type(self), (self.faults,)


class ConfigError(InputError):
    """Configuration values that do not fit together."""


class CheckpointError(MaskstreamError):
    """A checkpoint that cannot be read, or whose tensors do not fit the model."""


class SourceError(MaskstreamError):
    """A video, picture or stream that cannot be opened or decoded."""


class SessionError(MaskstreamError):
    """A session that cannot do what was asked of it."""


class SessionNotFoundError(SessionError):
    """No session goes by this id: it was never started, was closed or has expired."""

    @classmethod
    def of(cls, session_id: str) -> SessionNotFoundError:
        """The error for an id."""
        return cls(
            f"there is no session {session_id!r:.140}: it was never started, was closed, or has "
            "expired; start_session opens one"
        )


class SessionLimitError(SessionError):
    """A limit of the session or of the service would be exceeded."""


class StoreError(MaskstreamError):
    """The session store cannot be reached, or an entry in it cannot be read.

    Attributes:
        key: the Redis key that holds the unreadable entry; None when it is not about one.
        entry: its id in a stream or its field in a hash.
        resume_after: the sequence after which a reader of that log goes on, past the entry.
    """

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        entry: str | None = None,
        resume_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.entry = entry
        self.resume_after = resume_after


class ArchiveError(MaskstreamError):
    """An archive or an index that cannot do what was asked of it."""


class IndexFormatError(ArchiveError):
    """An index of another version, or a file of it that cannot be read."""


class IndexBusyError(ArchiveError):
    """Another process builds on the index."""


class IndexMismatchError(ArchiveError):
    """An index that was made with other settings or another checkpoint."""


class NotIndexedError(ArchiveError):
    """A concept that the index was not built for; the message names the nearest ones."""


class RuntimeFailedError(MaskstreamError):
    """A runtime that can serve no more. It has given up its sessions; another one may go on."""


class OutputError(MaskstreamError):
    """Results that cannot be written."""
