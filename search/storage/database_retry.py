"""Retrying calls to a database that is temporarily unavailable: full, locked, or restarting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, OperationalError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

REMINDER_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)
# Per thread, not per process: heartbeats and queries fail at once.
_is_retrying: ContextVar[bool] = ContextVar("_is_retrying", default=False)

_attempt: ContextVar[int] = ContextVar("_attempt", default=1)


def is_retry() -> bool:
    """Whether this is a further attempt at a call, whose first may have been committed: the reply
    to COMMIT can be lost."""
    return _attempt.get() > 1


@contextmanager
def retrying() -> Iterator[None]:
    """Retry this thread's calls to the database without end.

    For the lease holder, which has results that exist nowhere else; queries fail at once.
    """
    token = _is_retrying.set(True)
    try:
        yield
    finally:
        _is_retrying.reset(token)


def retryable(call: Callable[P, T]) -> Callable[P, T]:
    """Retry a call on transient errors, inside ``retrying``.

    The call must be one transaction, and find out where ``is_retry`` whether it was committed.
    """

    @wraps(call)
    def retried(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _is_retrying.get():
            return call(*args, **kwargs)
        attempts = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_exponential(multiplier=0.2, max=5.0),
            before=_count_attempt,
            before_sleep=_reminder(),
        )
        try:
            result = attempts(call, *args, **kwargs)
        finally:
            _attempt.set(1)
        if attempts.statistics["attempt_number"] > 1:
            seconds = attempts.statistics["delay_since_first_attempt"]
            log.warning("the study's database is back after %.0f s", seconds)
        return result

    return retried


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, with the database as it is."""
    cause = _cause(error)
    if not isinstance(cause, DBAPIError):
        return False
    # SQLite reports a missing table with the same class, which no retry fixes.
    is_operational = isinstance(cause, OperationalError) and "no such" not in str(cause.orig)
    return cause.connection_invalidated or is_operational


def reason(error: BaseException) -> str:
    """The database's own message, as one line."""
    cause = _cause(error)
    message = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip()
    return message.splitlines()[0] if message else type(cause).__name__


def _count_attempt(state: RetryCallState) -> None:
    _attempt.set(state.attempt_number)


def _reminder() -> Callable[[RetryCallState], None]:
    """Log the first failed attempt, and then one each minute."""
    due = 0.0

    def remind(state: RetryCallState) -> None:
        nonlocal due
        waited = state.seconds_since_start or 0.0
        error = state.outcome.exception() if state.outcome else None
        if error is None or waited < due:
            return
        due = waited + REMINDER_SECONDS
        log.warning(
            "the study's database is unavailable (%s); retrying, since %.0f s",
            reason(error),
            waited,
        )

    return remind


def _cause(error: BaseException) -> BaseException:
    """The error that Optuna's own error wraps."""
    return (isinstance(error, StorageInternalError) and error.__cause__) or error
