"""Who may use a session: the one place where owners are compared.

``owner`` is a name that a client gives itself. It keeps apart those who trust each other, and it
protects nothing where clients reach the store directly. The web service finds out who calls, and
enforces owners with this check.
"""

from __future__ import annotations

from maskstream.core.errors import SessionNotFoundError


def check_access(session_id: str, owner: str, caller: str | None) -> None:
    """Check that a caller may use a session.

    Args:
        session_id: the session.
        owner: its owner.
        caller: who asks; None may use all sessions.

    Raises:
        SessionNotFoundError: the session is somebody else's. The error is that of a session that
            does not exist, so that nobody learns which sessions there are.
    """
    if caller is not None and caller != owner:
        raise session_not_found(session_id)


def session_not_found(session_id: str) -> SessionNotFoundError:
    """The error of whoever asks for a session that does not exist."""
    return SessionNotFoundError(
        f"there is no session {session_id!r:.140}: it was never started, was closed, or has "
        "expired; start_session opens one"
    )
