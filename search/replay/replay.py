"""Replay: any sampler against a recorded table, in simulated time.

A trial takes the seconds that the table says. With sharing, only what is missing is trained, as in
a real search: an architecture's stable path is trained once and continued, a run's cooldown is
done once, and a trial that needs what another is training waits for it.
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
        """A row that was not asked for before; None to wait for a running trial, or at the end."""
        ...

    def tell(self, row: int) -> None:
        """Note that the trial of a row has finished."""
        ...


@dataclass(frozen=True)
class Replay:
    """What a replay gave.

    Args:
        rows: The rows in the order in which they were chosen.
        seconds: When each trial finished, ascending, after a zero.
        hypervolume: Share of the table's hypervolume that was reached then.
        busy: StageSeconds of work in all, over all workers.
    """

    rows: Integers
    seconds: Floats
    hypervolume: Floats
    busy: float

    def seconds_to(self, level: float) -> float:
        """Seconds until a share of the hypervolume was reached; infinity if it never was."""
        reached = np.flatnonzero(self.hypervolume >= level - 1e-12)
        return float(self.seconds[reached[0]]) if len(reached) else np.inf


def replay(
    table: Table, chooser: RowSampler, *, workers: int, sharing: bool, until: float = 1.0
) -> Replay:
    """Run a chooser against a table.

    Args:
        table: The table.
        chooser: Which rows to try.
        workers: Trials at a time.
        sharing: Whether trials share training, or each trains from scratch.
        until: Share of the hypervolume at which to stop.

    Raises:
        TableError: The table has no hypervolume that shares could be of.
    """
    workshop = _Workshop(table, sharing)
    running: list[tuple[float, int]] = []
    chosen: list[int] = []
    finished: list[int] = []
    seconds, shares = [0.0], [0.0]
    now, whole = 0.0, table.hypervolume(np.arange(len(table)))
    if whole == 0.0:
        raise TableError(
            f"{table.name}: no row is both smaller than the largest size and better than the "
            "lowest accuracy, so that there is no hypervolume to reach; give a table of several "
            "sizes and accuracies"
        )
    while True:
        while len(running) < workers:
            row = chooser.ask()
            if row is None:
                break
            chosen.append(row)
            heapq.heappush(running, (workshop.start(row, now), row))
        if not running:
            break
        now, row = heapq.heappop(running)
        chooser.tell(row)
        finished.append(row)
        seconds.append(now)
        shares.append(table.hypervolume(np.array(finished)) / whole)
        if shares[-1] >= until - 1e-12:
            break
    return Replay(np.array(chosen), np.array(seconds), np.array(shares), workshop.busy)


class FixedOrder:
    """Rows in an order that is known: to see what the same choices take under other conditions."""

    def __init__(self, rows: Integers) -> None:
        self._rows = iter(rows.tolist())

    def ask(self) -> int | None:
        """The next of the order."""
        return next(self._rows, None)

    def tell(self, row: int) -> None:
        """Nothing to learn."""


class _Workshop:
    """What is trained, and until when."""

    def __init__(self, table: Table, sharing: bool) -> None:
        self._table = table
        self._sharing = sharing
        self._stable = np.zeros(table.architecture.max() + 1)
        self._stable_free = np.zeros(table.architecture.max() + 1)
        self._trained = np.full(table.run.max() + 1, np.inf)
        self.busy = 0.0

    def start(self, row: int, now: float) -> float:
        """Start a trial; returns when it ends."""
        c = self._table.columns
        stable, cooldown = c["train_seconds_stable"][row], c["train_seconds_cooldown"][row]
        evaluate = c["compress_eval_seconds"][row]
        architecture, run = self._table.architecture[row], self._table.run[row]
        if not self._sharing:
            self.busy += stable + cooldown + evaluate
            return float(now + stable + cooldown + evaluate)
        if np.isinf(self._trained[run]):
            missing = max(stable - self._stable[architecture], 0.0)
            free = max(now, self._stable_free[architecture]) + missing
            self._stable[architecture] = max(stable, self._stable[architecture])
            self._stable_free[architecture] = free
            self._trained[run] = free + cooldown
            self.busy += missing + cooldown
        self.busy += evaluate
        return float(max(now, self._trained[run]) + evaluate)
