"""Who may use which session.

The owner of a session is a label: whoever reaches the session store can give any, and nothing there
checks it. A program that speaks for several people knows who asks, for example by a token. It makes
a client for each of them (``Client(store, owner="ann")``), which checks with this class.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskstream.core.errors import RequestError, SessionNotFoundError
from maskstream.pipeline.api.requests import ListSessions, Request, StartSession


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    Attributes:
        owner: whose sessions may be started, listed and used; None: everybody's.
    """

    owner: str | None = None

    def check(self, session_id: str, owner: str) -> None:
        """Check that a session may be used.

        Args:
            owner: the session's owner.

        Raises:
            SessionNotFoundError: it may not. The message is that of a session that does not exist.
        """
        if self.owner is not None and owner != self.owner:
            raise SessionNotFoundError.of(session_id)

    def narrowed(self, request: Request) -> Request:
        """The request with this owner, where a request names one.

        Raises:
            RequestError: the request names another owner.
        """
        if self.owner is None or not isinstance(request, StartSession | ListSessions):
            return request
        if "owner" in request.model_fields_set and request.owner not in (None, self.owner):
            raise RequestError(
                [
                    f"owner is {request.owner!r}; this client starts and lists sessions of "
                    f"{self.owner!r} only"
                ]
            )
        return request.model_copy(update={"owner": self.owner})
