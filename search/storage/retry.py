"""Waiting for a database that is away for a while: full, locked, or starting again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, OperationalError

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two tries, which double."""
REMINDER_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)
# Of a thread, and not of the process: signs of life and answers must not wait.
_waits: ContextVar[bool] = ContextVar("_waits", default=False)


@contextmanager
def patience() -> Iterator[None]:
    """Let what this thread asks of the database wait until it can be done, without an end.

    A search has results that nobody else has, so its driver waits; who only asks is told.
    """
    token = _waits.set(True)
    try:
        yield
    finally:
        _waits.reset(token)


def patient(call: Callable[P, T]) -> Callable[P, T]:
    """Try a call again while the database is away, where ``patience`` is asked for.

    The call is one transaction: what failed did nothing.
    """

    @wraps(call)
    def trying(*args: P.args, **kwargs: P.kwargs) -> T:
        pause, since, reminder = FIRST_PAUSE, time.monotonic(), 0.0
        while True:
            try:
                answer = call(*args, **kwargs)
            except (StorageInternalError, DBAPIError) as error:
                if not _waits.get() or not is_transient(error):
                    raise
                waited = time.monotonic() - since
                if waited >= reminder:
                    log.warning(
                        "the study's database cannot be used (%s); the search waits for it, since "
                        "%.0f s",
                        reason(error),
                        waited,
                    )
                    reminder = waited + REMINDER_SECONDS
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if reminder:
                log.warning("the study's database is back after %.0f s", time.monotonic() - since)
            return answer

    return trying


def is_transient(error: Exception) -> bool:
    """Whether a database that raised this may answer again later, as it is."""
    cause = _cause(error)
    if not isinstance(cause, DBAPIError):
        return False
    # SQLite says with the same class that there is no such table, which waiting does not mend.
    is_operational = isinstance(cause, OperationalError) and "no such" not in str(cause.orig)
    return cause.connection_invalidated or is_operational


def reason(error: Exception) -> str:
    """What a database said, in a line."""
    cause = _cause(error)
    said = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip()
    return said.splitlines()[0] if said else type(cause).__name__


def _cause(error: Exception) -> BaseException:
    """The error under Optuna's own."""
    return (isinstance(error, StorageInternalError) and error.__cause__) or error
