"""Waiting for other processes."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests


def wait_for(
    what: str, condition: Callable[[], object], seconds: float = 180.0, *, every: float = 0.02
) -> float:
    """Wait until a condition holds, checking it at an interval; returns the seconds waited.

    Raises:
        AssertionError: It did not hold in time.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"waited {seconds:g} s in vain: {what}"
        time.sleep(every)
    return time.monotonic() - started


def is_served(url: str) -> bool:
    """Whether a URL responds without an error."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
