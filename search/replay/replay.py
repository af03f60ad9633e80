"""A replay: a sampler chooses rows of a recorded table, in simulated time.

A trial takes the seconds that the table records. With sharing, only missing training is paid for,
as in a real search: the stable path of an architecture is trained once and continued, the cooldown
of a run is done once, and a trial waits for training that another trial has started.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search.arrays import Floats, Integers
from search.replay.table import Table, TableError

LEVELS = (0.90, 0.95, 0.98, 0.99)


class RowSampler(Protocol):
    """Chooses rows of a table."""

    def ask(self) -> int | None:
        """A new row; None to wait for a running trial, or when no row is left."""

    def tell(self, row: int) -> None:
        """Report that the trial of a row has finished."""


@dataclass(frozen=True)
class Replay:
    """The result of a replay.

    Args:
        rows: The rows in the order in which they were chosen.
        seconds: When each trial finished, ascending, after a zero.
        hypervolume: Fraction of the table's hypervolume that was reached then.
        busy_seconds: Seconds of work, summed over the workers.
    """

    rows: Integers
    seconds: Floats
    hypervolume: Floats
    busy_seconds: float

    def seconds_to(self, level: float) -> float:
        """Seconds until a fraction of the hypervolume was reached; infinity if it never was."""
        reached = np.flatnonzero(self.hypervolume >= level - 1e-12)
        return float(self.seconds[reached[0]]) if len(reached) else np.inf

    def hypervolume_at(self, seconds: Floats) -> Floats:
        """Fraction of the hypervolume that was reached after some seconds, ascending."""
        return self.hypervolume[np.searchsorted(self.seconds, seconds, side="right") - 1]


def replay(
    table: Table, sampler: RowSampler, *, workers: int, sharing: bool, until: float = 1.0
) -> Replay:
    """Run a sampler against a table.

    Args:
        workers: Number of trials that run at a time.
        sharing: Whether trials share training; without, each trains from scratch.
        until: Fraction of the hypervolume at which to stop.

    Raises:
        TableError: The hypervolume of the table is zero.
    """
    whole = table.hypervolume(np.arange(len(table)))
    if whole == 0.0:
        raise TableError(
            f"{table.name}: no row is both smaller than the largest size and better than the "
            "lowest accuracy, so that there is no hypervolume to reach; give a table of several "
            "sizes and accuracies"
        )
    simulation = _Simulation(table, sharing)
    running: list[tuple[float, int]] = []
    chosen, finished = list[int](), list[int]()
    seconds, fractions = [0.0], [0.0]
    while fractions[-1] < until - 1e-12:
        while len(running) < workers and (row := sampler.ask()) is not None:
            chosen.append(row)
            heapq.heappush(running, (simulation.start(row, seconds[-1]), row))
        if not running:
            break
        now, row = heapq.heappop(running)
        sampler.tell(row)
        finished.append(row)
        seconds.append(now)
        fractions.append(table.hypervolume(np.array(finished)) / whole)
    return Replay(np.array(chosen), np.array(seconds), np.array(fractions), simulation.busy_seconds)


class FixedOrder:
    """Rows in a given order, such as that of another replay under other conditions."""

    def __init__(self, rows: Integers) -> None:
        self._rows = iter(rows.tolist())

    def ask(self) -> int | None:
        """The next row."""
        return next(self._rows, None)

    def tell(self, row: int) -> None:
        """Ignored."""


class _Simulation:
    """Training that is done or running, and when it ends."""

    def __init__(self, table: Table, sharing: bool) -> None:
        self._table = table
        self._sharing = sharing
        self._stable = np.zeros(table.stable_path.max() + 1)
        """Seconds of the longest part of each stable path that is trained."""
        self._stable_end = np.zeros_like(self._stable)
        """When its training ends."""
        self._trained = np.full(table.run.max() + 1, np.inf)
        """When the training of each run ends; infinity where it has not started."""
        self.busy_seconds = 0.0

    def start(self, row: int, now: float) -> float:
        """Start a trial; returns when it ends."""
        c = self._table.columns
        stable, cooldown = c["train_seconds_stable"][row], c["train_seconds_cooldown"][row]
        evaluate = c["compress_eval_seconds"][row]
        path, run = self._table.stable_path[row], self._table.run[row]
        if not self._sharing:
            self.busy_seconds += stable + cooldown + evaluate
            return float(now + stable + cooldown + evaluate)
        if np.isinf(self._trained[run]):
            missing = max(stable - self._stable[path], 0.0)
            end = max(now, self._stable_end[path]) + missing
            self._stable[path] = max(stable, self._stable[path])
            self._stable_end[path] = end
            self._trained[run] = end + cooldown
            self.busy_seconds += missing + cooldown
        self.busy_seconds += evaluate
        return float(max(now, self._trained[run]) + evaluate)
