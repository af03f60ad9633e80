"""Waiting for what another process does."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable


def wait_for(
    what: str, condition: Callable[[], object], seconds: float = 180.0, *, every: float = 0.02
) -> float:
    """Wait until a condition holds, looking every so many seconds; returns how many that took.

    Raises:
        AssertionError: It did not hold in time.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"waited {seconds:g} s in vain: {what}"
        time.sleep(every)
    return time.monotonic() - started


def is_served(url: str) -> bool:
    """Whether a page is answered without an error."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
