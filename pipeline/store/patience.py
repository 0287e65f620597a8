"""How long a command is repeated while a Redis server is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.retry import Retry

T = TypeVar("T")

RETRY_FOR_S = 30.0
"""Unless told otherwise: clients wait for the server as long as workers do."""

_AWAY: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError, TimeoutError)


class Patience(Retry):
    """Repeats a command for some time, at growing intervals of up to half a second.

    A server that loads its data is away, too. One that refuses a password is not: it would refuse
    it again. What a server refuses for another reason is no error of these kinds.

    Args:
        retry_for_s: how long, in seconds; an attempt that has begun is not broken off.
        errors: the errors that mean that the server is away.
    """

    def __init__(self, retry_for_s: float, errors: tuple[type[Exception], ...] = _AWAY) -> None:
        super().__init__(ExponentialWithJitterBackoff(cap=0.5, base=0.02), -1, errors)
        self._retry_for_s = retry_for_s

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """See ``redis.retry.Retry``."""
        end_s = time.monotonic() + self._retry_for_s

        def is_worth_it(error: Exception) -> bool:
            if isinstance(error, AuthenticationError | AuthorizationError):
                return False
            if is_retryable is not None and not is_retryable(error):
                return False
            return time.monotonic() < end_s

        return super().call_with_retry(do, fail, is_worth_it, with_failure_count)
