"""File locks that the kernel releases when their holder dies.

They are ``flock`` and not a library's locks because training takes two shared locks at each
optimiser step: that costs 0.05 ms, and 1.3 ms with the SQLite read-write locks of ``filelock``.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from objectives.store import heartbeat

SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.0005, 0.05
"""Between two attempts to take a lock that another process holds."""


class LockBusy(Exception):
    """Another process holds the lock."""


def exclusive_lock(path: Path) -> AbstractContextManager[None]:
    """Take an exclusive lock; waits, with heartbeats, while another process holds it."""
    return _lock(path, fcntl.LOCK_EX)


def shared_lock(path: Path) -> AbstractContextManager[None]:
    """Take a shared lock; waits while a process holds it exclusively."""
    return _lock(path, fcntl.LOCK_SH)


def try_exclusive_lock(path: Path) -> AbstractContextManager[None]:
    """Take an exclusive lock, or raise ``LockBusy`` if another process holds it."""
    return _lock(path, fcntl.LOCK_EX, waits=False)


@contextmanager
def _lock(path: Path, mode: int, *, waits: bool = True) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        pause = SHORTEST_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not waits:
                    raise LockBusy(str(path)) from error
            # The holder may train for hours; if it hangs, the watchdog ends it.
            heartbeat.beat("waiting for a lock")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


class MeasurementLock:
    """Lock of this machine that pauses training while a latency is measured.

    Training holds the device shared for one optimiser step at a time, a measurement holds it alone.
    A measurement first locks the queue, which stops new steps: overlapping steps of several trials
    would keep it waiting for ever. Files and not Ray resources, so that it also works in a plain
    Python shell and between two searches on one machine.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(tempfile.gettempdir()) / f"tlc-measurement-lock-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._queue = folder / "queue.lock"
        self._device = folder / "device.lock"

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold for one optimiser step."""
        with shared_lock(self._queue):
            pass
        with shared_lock(self._device):
            yield

    @contextmanager
    def measurement(self) -> Iterator[None]:
        """Hold while a latency is measured."""
        with exclusive_lock(self._queue), exclusive_lock(self._device):
            yield
