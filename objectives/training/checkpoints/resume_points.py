"""Resume points: states of an unfinished path in the store, from which a killed run continues."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from objectives.device import free_bytes
from objectives.store.disk_space import is_disk_full
from objectives.store.store import Store
from objectives.training.checkpoints.state_files import Snapshot
from objectives.training.path import TrainingPath, TrainingState

SLOW_SECONDS = 1.0
"""Seconds from which a resume point costs: it is stored more seldom, and while training goes on."""
TRAINING_PER_SAVING = 20.0
"""Seconds of training between two slow resume points, for each that storing one takes."""
QUOTA_OF_TWO = 0.5
"""Part of the store's quota that two resume points may take; where they are larger, one is kept."""
FREE_COPIES = 4
"""Copies of a state for which memory must be free before one is made."""

_LOG = logging.getLogger(__name__)


class ResumePoints:
    """Stores the resume points of a path while it is trained; a context, which ends the last write.

    The first is stored while training waits, which measures what it costs. If that is slow, further
    ones are copied, where there is memory for it, and stored by a thread.

    Args:
        least_seconds: Of training between two of them.
    """

    def __init__(
        self, store: Store, path: TrainingPath, state: TrainingState, *, least_seconds: float
    ) -> None:
        self._store = store
        self._path = path
        self._state = state
        self._least_seconds = least_seconds
        self._saving_seconds = 0.0
        self._is_too_large = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="resume-points")
        self._writing: Future[None] | None = None

    @property
    def interval_seconds(self) -> float:
        """Seconds of training between two resume points."""
        if self._is_too_large:
            return float("inf")
        if self._saving_seconds < SLOW_SECONDS:
            return self._least_seconds
        return max(self._least_seconds, TRAINING_PER_SAVING * self._saving_seconds)

    def add(self) -> None:
        """Store the state, and remove earlier ones once it is stored.

        Raises:
            Exception: It, or the one before, cannot be stored.
        """
        self.wait()
        self._state.resume_points.append(self._state.progress.step)
        snapshot = Snapshot.of(self._path, self._state, with_optimizer=True)
        size, quota = snapshot.size_bytes, self._store.max_bytes
        if size > quota:
            self._is_too_large = True
            self._state.resume_points.pop()
            _LOG.warning(
                "no resume points of %s are kept: one has %.3g GB, and storage.store_max_gb is "
                "%.3g; if this training is interrupted, it starts again",
                self._path.configuration.architecture, size / 1e9, quota / 1e9,
            )  # fmt: skip
            return
        # An unfinished path keeps two, for the last one may turn out to be damaged.
        keep = 2 if 2 * size <= QUOTA_OF_TWO * quota else 1
        self._state.progress.unsaved_seconds = 0.0
        address = self._state.address_on(self._path)
        if self._saving_seconds >= SLOW_SECONDS and free_bytes() > FREE_COPIES * size:
            snapshot = snapshot.copied()
            self._writing = self._thread.submit(self._write, snapshot, address, keep, waits=False)
        else:
            self._write(snapshot, address, keep, waits=True)

    def wait(self) -> None:
        """Wait for the write that is under way.

        Raises:
            Exception: It failed, and the disk is not full: then the next one waits for space.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except Exception as error:
            if not is_disk_full(error):
                raise
            _LOG.warning("no space for a resume point: %s", error)
            self._saving_seconds = 0.0

    def _write(self, snapshot: Snapshot, address: str, keep: int, *, waits: bool) -> None:
        started = 0.0

        def fill(folder: Path) -> None:
            nonlocal started
            # Here, so that the wait for space is no part of the cost.
            started = time.perf_counter()
            snapshot.write(folder)

        self._store.write(address, fill, is_final=False, waits_for_space=waits)
        self._saving_seconds = time.perf_counter() - started
        keep_last(self._store, self._path, self._state, keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def keep_last(store: Store, path: TrainingPath, state: TrainingState, count: int) -> None:
    """Remove all but the last resume points of a path from the store."""
    while len(state.resume_points) > count:
        store.remove(path.address_at(state.resume_points.pop(0)))
