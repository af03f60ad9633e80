"""Slow calls in threads of their own, so that reads always find a thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from search.storage.errors import Overloaded

RUNNING = 8
"""Slow calls that run at once; each may wait for a cluster, a disk or a database."""
WAITING = 100
"""Slow calls that may wait for a thread."""

P = ParamSpec("P")
T = TypeVar("T")


class SlowCalls:
    """Runs slow calls in a limited number of threads.

    FastAPI runs a plain function as a route in one of forty threads that all routes share: forty
    calls that wait for a cluster would leave none for ``/ready`` and for queries.

    Args:
        running: Calls that run at once.
        waiting: Further calls that may wait.
    """

    def __init__(self, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._limiter = CapacityLimiter(running)
        self._waiting = waiting

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call.

        Raises:
            Overloaded: Too many calls wait.
        """
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            raise Overloaded(f"{self._waiting} requests that take long wait already; try again")
        return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self._limiter)
