"""Whether what the service needs can be reached, asked so that no answer is waited for in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread

ANSWER_SECONDS = 0.8
"""Time for a check; a load balancer expects its answer within a second."""


class Check:
    """A check in a thread of its own.

    One runs at a time: who asks while it runs gets the same answer, so that a database that does
    not answer costs one thread, however often ``/ready`` is asked.

    Args:
        is_there: Whether what is checked can be used now.
    """

    def __init__(self, is_there: Callable[[], bool]) -> None:
        self._is_there = is_there
        self._limiter = CapacityLimiter(1)
        self._asked: asyncio.Task[bool] | None = None

    async def __call__(self) -> bool:
        """Whether it said so within ``ANSWER_SECONDS``."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask())
        answered, _ = await asyncio.wait({self._asked}, timeout=ANSWER_SECONDS)
        return bool(answered) and self._asked.result()

    async def _ask(self) -> bool:
        return await to_thread.run_sync(self._is_there, limiter=self._limiter)
