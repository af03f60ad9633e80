"""Heartbeats: how slow work is distinguished from work that hangs.

Work that takes long calls ``beat`` as it goes: after each optimiser step, each scored batch, each
compressed layer. A process that is alive but sends no heartbeat is stuck. ``stored`` says what a
process that dies now would not lose. The process that runs the work may register a listener;
without one, a heartbeat does nothing.

>>> with listening(lambda what, is_paused: print(what)):
...     beat("scoring")
...     beat()
scoring
scoring
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

INTERVAL_SECONDS = 1.0
"""Seconds between two heartbeats of a call that sends none itself."""
LEAST_BYTES_PER_SECOND = 10e6
"""Of the slowest disk that is still waited for."""

Listener = Callable[[str, bool], None]
StoredListener = Callable[[str], None]

_listeners: list[Listener] = []
_stored_listeners: list[StoredListener] = []
_last = "starting"


def beat(what: str = "") -> None:
    """Send a heartbeat.

    Args:
        what: What is being done, such as ``training``; by default the same as before.
    """
    global _last
    _last = what or _last
    for listener in _listeners:
        listener(_last, False)


def paused(why: str) -> None:
    """Send a heartbeat that says why the work waits for a person, such as ``no space``."""
    for listener in _listeners:
        listener(why, True)


def stored(address: str) -> None:
    """Say that a new entry of the store was written, by its address."""
    for listener in _stored_listeners:
        listener(address)


@contextmanager
def beating(seconds: float) -> Iterator[None]:
    """Inside the block, send heartbeats from a thread, for so many seconds at most: of calls that
    can send none themselves, and are stuck if they take longer."""
    if seconds <= INTERVAL_SECONDS:
        yield
        return
    has_ended = threading.Event()

    def send() -> None:
        for _ in range(int(seconds / INTERVAL_SECONDS)):
            if has_ended.wait(INTERVAL_SECONDS):
                return
            beat()

    thread = threading.Thread(target=send, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def transferring(size_bytes: float) -> AbstractContextManager[None]:
    """``beating`` for as long as a slow disk takes to read or write so many bytes."""
    return beating(size_bytes / LEAST_BYTES_PER_SECOND)


@contextmanager
def listening(
    listener: Listener, on_stored: StoredListener = lambda address: None
) -> Iterator[None]:
    """Call ``listener(what, is_paused)`` at each heartbeat of this process, and
    ``on_stored(address)`` at each new entry of the store, inside the block."""
    _listeners.append(listener)
    _stored_listeners.append(on_stored)
    try:
        yield
    finally:
        _listeners.remove(listener)
        _stored_listeners.remove(on_stored)
