"""File locks that the kernel releases when their holder dies, and the measurement lane."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from objectives.store import heartbeat

SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.0005, 0.05
"""Seconds between two tries to take a lock that another holds."""


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock file alone; waits for whoever holds it now."""
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold a lock file together with others; waits for whoever holds it alone."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(path: Path, mode: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        pause = SHORTEST_WAIT_SECONDS
        while not _try_lock(descriptor, mode):
            # Whoever holds it may train for hours; if it hangs, its end frees this one.
            heartbeat.beat("waiting for a lock")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LockBusy(Exception):
    """Another process holds the lock."""


@contextmanager
def try_exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock file alone, or do not wait.

    Raises:
        LockBusy: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(descriptor, fcntl.LOCK_EX):
            raise LockBusy(str(path))
        yield
    finally:
        os.close(descriptor)


class MeasurementLock:
    """A machine-wide lane: latencies are measured one at a time, and training pauses meanwhile.

    Training holds the lane shared for one step at a time; a measurement holds it alone. A second
    file lets a waiting measurement stop new steps, or a row of trainers would keep it out.
    It is a pair of file locks and no Ray resource, so that it also works in a plain Python shell
    and between two searches on one machine.
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
