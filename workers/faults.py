"""Which errors of a call to an actor mean that the actor died.

The work of a dead actor is done again elsewhere, a bounded number of times. ``DEATHS`` holds these
errors of ``ray.exceptions``:

===============================  ===================================================================
``ActorDiedError``               The process of the actor has ended and Ray does not restart it: it
                                 crashed, was killed (by the kernel's out-of-memory killer too), or
                                 its node is gone. Its constructor raising an error counts as well.
``ActorUnavailableError``        The actor cannot be reached now: Ray is restarting it, after any
                                 death, or its node does not answer.
``RayActorError``                The base class of these two.
``OutOfMemoryError``             Ray's memory monitor killed the actor because its node was running
                                 out of memory, and Ray does not restart it. This is no
                                 ``RayActorError``. If Ray restarts the actor, its callers see
                                 ``ActorUnavailableError`` instead.
``WorkerCrashedError``           A worker process ended in the middle of a task.
``NodeDiedError``                The node of the worker is dead or unreachable.
``ObjectLostError``              All copies of an object that the call needs or returned are gone,
                                 or its owner is (``OwnerDiedError``, ``ObjectFetchTimedOutError``,
                                 ``ObjectReconstructionFailedError``). Its other kinds,
                                 ``ObjectFreedError`` and ``ReferenceCountingAssertionError``, are
                                 bugs that never occur here: nothing is freed by hand.
===============================  ===================================================================

All others are no death and never a reason to try again:

===============================  ===================================================================
``RayTaskError``                 The actor's own code raised an error, and would raise it again.
                                 torch's out-of-memory error on a GPU is one of these. A
                                 ``RayTaskError`` is also an instance of its cause's class. To treat
                                 the two differently, catch it before ``DEATHS``.
``GetTimeoutError``,             No answer within the time that the caller set.
``PlasmaObjectNotAvailable``
``RuntimeEnvSetupError``,        The actor never started, because its environment or placement is
``ActorUnschedulableError``      impossible. The runtime asks for neither.
``ObjectStoreFullError``,        The node's object store or disk is full, and stays so when the call
``OutOfDiskError``               is made again.
``LocalRayletDiedError``,        Ray itself has failed on this node, or cannot be reached. Nobody
``RaySystemError``,              here could do the work again: if it lasts, the runtime gives up its
``RpcError``,                    sessions, and they go on elsewhere (``runtime/vitals.py``).
``AuthenticationError``
===============================  ===================================================================

What this project asks of Ray never raises the rest. Nothing is cancelled, and no actor exits by
itself (``TaskCancelledError``, ``AsyncioActorExit``). There are no tasks, placement groups, limits
of pending calls, streaming generators, compiled graphs, direct transports, other languages and
named actors (``TaskUnschedulableError``, ``TaskPlacementGroupRemoved``,
``ActorPlacementGroupRemoved``, ``PendingCallsLimitExceeded``, ``ObjectRefStreamEndOfStreamError``,
``StreamingGeneratorReplayInconsistentError``, ``RayChannelError``, ``RayChannelTimeoutError``,
``RayCgraphCapacityExceeded``, ``RayDirectTransportError``, ``CrossLanguageError``,
``ActorAlreadyExistsError``). These would be bugs: a handle that outlives its Ray, a reference that
is pickled by hand, an error that cannot be pickled (``ActorHandleNotFoundError``,
``OufOfBandObjectRefSerializationException``, ``UserCodeException``, ``UnserializableException``).
"""

from __future__ import annotations

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

DEATHS = (
    RayActorError,
    ActorUnavailableError,
    OutOfMemoryError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
)
