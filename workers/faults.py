"""What it means when a call to an actor fails.

The actor died: ``RayActorError`` (ActorDiedError, ActorUnavailableError), ``WorkerCrashedError``,
``NodeDiedError``, and, for what it owned, ``ObjectLostError`` with its kinds. Such work is done
again elsewhere. ``RayTaskError`` is an error that the actor's code has raised: it would be raised
again, so it is never a reason to retry.
"""

from __future__ import annotations

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    WorkerCrashedError,
)

DEATHS = (RayActorError, ActorUnavailableError, WorkerCrashedError, NodeDiedError, ObjectLostError)
