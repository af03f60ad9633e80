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
import numpy.typing as npt

from search.coordinates import PRIOR
from search.designer import Designer
from search.menu import Seconds, Trial
from search.table import Table, menu_of

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVELS = (0.90, 0.95, 0.98, 0.99)


class Chooser(Protocol):
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
        seconds: When each trial finished, ascending.
        hypervolume: Share of the table's hypervolume that was reached then.
        busy: Seconds of work in all, over all workers.
    """

    seconds: Floats
    hypervolume: Floats
    busy: float

    def seconds_to(self, level: float) -> float:
        """Seconds until a share of the hypervolume was reached; infinity if it never was."""
        reached = np.flatnonzero(self.hypervolume >= level - 1e-12)
        return float(self.seconds[reached[0]]) if len(reached) else np.inf


def replay(
    table: Table, chooser: Chooser, *, workers: int, sharing: bool, until: float = 1.0
) -> Replay:
    """Run a chooser against a table.

    Args:
        table: The table.
        chooser: Which rows to try.
        workers: Trials at a time.
        sharing: Whether trials share training, or each trains from scratch.
        until: Share of the hypervolume at which to stop.
    """
    workshop = _Workshop(table, sharing)
    running: list[tuple[float, int]] = []
    rows: list[int] = []
    seconds, shares = [0.0], [0.0]
    now, whole, is_over = 0.0, table.hypervolume(np.arange(len(table))), False
    while True:
        while len(running) < workers and not is_over:
            row = chooser.ask()
            if row is None:
                break
            heapq.heappush(running, (workshop.start(row, now), row))
        if not running:
            break
        now, row = heapq.heappop(running)
        chooser.tell(row)
        rows.append(row)
        seconds.append(now)
        shares.append(table.hypervolume(np.array(rows)) / whole)
        if shares[-1] >= until - 1e-12:
            break
    return Replay(np.array(seconds), np.array(shares), workshop.busy)


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


class FrontierChooser:
    """tlc's designer on a table: it knows sizes beforehand, and learns accuracies and times."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._designer = Designer(menu_of(table), PRIOR, seed)
        self._running: list[tuple[int, int]] = []
        self._row = {
            (int(run), int(compression)): row
            for row, (run, compression) in enumerate(zip(table.run, table.compression, strict=True))
        }

    def ask(self) -> int | None:
        """The designer's suggestion."""
        suggestion = self._designer.suggest(self._running)
        if suggestion is None:
            return None
        place = (suggestion.run, suggestion.compression)
        self._running.append(place)
        return self._row[place]

    def tell(self, row: int) -> None:
        """Pass a result on."""
        c, place = (
            self._table.columns,
            (int(self._table.run[row]), int(self._table.compression[row])),
        )
        self._running.remove(place)
        seconds = Seconds(
            stable=c["train_seconds_stable"][row],
            cooldown=c["train_seconds_cooldown"][row],
            evaluate=c["compress_eval_seconds"][row],
        )
        self._designer.add([Trial(*place, accuracy=float(c["accuracy"][row]), seconds=seconds)])


class Oracle:
    """The greedy bound: it knows the table, and takes the row that gains most for each second."""

    def __init__(self, table: Table, seed: int = 0) -> None:
        self._table = table
        self._rows: list[int] = []
        self._left = np.ones(len(table), dtype=bool)
        self._stable = np.zeros(table.architecture.max() + 1)
        self._trained = np.zeros(table.run.max() + 1, dtype=bool)

    def ask(self) -> int | None:
        """The best row for each second of its work."""
        left = np.flatnonzero(self._left)
        if len(left) == 0:
            return None
        row = int(left[np.argmax(self._gains(left) / self._prices(left))])
        self._left[row] = False
        self._rows.append(row)
        architecture = self._table.architecture[row]
        stable = self._table.columns["train_seconds_stable"][row]
        self._stable[architecture] = max(stable, self._stable[architecture])
        self._trained[self._table.run[row]] = True
        return row

    def tell(self, row: int) -> None:
        """Nothing new to it."""

    def _prices(self, rows: Integers) -> Floats:
        c, table = self._table.columns, self._table
        missing = np.maximum(
            c["train_seconds_stable"][rows] - self._stable[table.architecture[rows]], 0.0
        )
        training = missing + c["train_seconds_cooldown"][rows]
        evaluating = c["compress_eval_seconds"][rows]
        prices: Floats = np.where(self._trained[table.run[rows]], 0.0, training) + evaluating
        return np.maximum(prices, 1e-9)

    def _gains(self, rows: Integers) -> Floats:
        table, chosen = self._table, np.array(self._rows, dtype=np.int64)
        order = chosen[np.argsort(table.log_size[chosen], kind="stable")]
        starts = np.append(-np.inf, table.log_size[order])
        ends = np.append(table.log_size[order], table.log_size.max())
        level = np.maximum.accumulate(np.append(table.accuracy.min(), table.accuracy[order]))
        widths = np.maximum(ends - np.maximum(starts, table.log_size[rows][:, None]), 0.0)
        heights = np.maximum(table.accuracy[rows][:, None] - level, 0.0)
        gains: Floats = (widths * heights).sum(1)
        return gains
