"""Heartbeats: how slow work is distinguished from work that hangs.

Work that takes long calls ``beat`` as it goes: after each optimiser step, each scored batch, each
compressed layer. A process that is alive but sends no heartbeat is stuck. The process that runs the
work may register a listener; without one, a heartbeat does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, bool], None]

_listeners: list[Listener] = []


def beat(what: str) -> None:
    """Send a heartbeat that names what is being done, such as ``training``."""
    for listener in _listeners:
        listener(what, False)


def paused(why: str) -> None:
    """Send a heartbeat that says why the work waits for a person, such as ``no space``."""
    for listener in _listeners:
        listener(why, True)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(what, is_paused)`` at each heartbeat of this process, inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
