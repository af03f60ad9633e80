"""Signs of progress: how work that is slow is told from work that hangs.

Whatever takes its time calls ``made`` as it goes: for each optimiser step, each batch that is
scored, each layer that is compressed. A process that is alive but makes no sign is stuck. Who runs
the work listens; nobody has to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, bool], None]

_listeners: list[Listener] = []


def made(what: str) -> None:
    """Give a sign of progress; it costs next to nothing.

    Args:
        what: What is being done, such as ``training``.
    """
    for listener in _listeners:
        listener(what, False)


def paused(why: str) -> None:
    """Give a sign of patience: nothing moves on until somebody does something about it.

    Args:
        why: What is waited for, such as ``no room in the store``.
    """
    for listener in _listeners:
        listener(why, True)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let ``listener(what, is_paused)`` hear the signs of this process meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
