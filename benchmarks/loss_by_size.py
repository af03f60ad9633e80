"""Does the loss of the recorded tables fall with depth, width and budget? Dense models only.

Prints the loss of every size at every budget, and counts the pairs of neighbours along a dimension,
all else equal, in which the larger has the lower loss. Tables hold one seed, so that a single pair
may be noise. The lowest quality of a dense model stands beside that of a guess.

    python benchmarks/loss_by_size.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table as Lines

from search.arrays import Floats
from search.replay.table import Table
from spaces.loading import load

TABLES = Path(__file__).parent / "tables"
DIMENSIONS = ("depth", "width", "budget_steps")
DENSE_BITS = 32


@click.command()
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
def main(tables: tuple[Path, ...]) -> None:
    """Print the losses of TABLES (default: those in benchmarks/tables)."""
    console = Console(width=120)
    summary = lines_of("table", *DIMENSIONS, "lowest quality", "of a guess")
    for path in tables or sorted(TABLES.glob("*.csv.gz")):
        table = Table.read(path)
        losses = _dense_losses(table)
        _print_losses(console, table.name, losses)
        texts = (_pairs(changes_along(losses, k)) for k in range(len(DIMENSIONS)))
        summary.add_row(table.name, *texts, *_qualities(table, path))
    console.print("\npairs whose larger model has the lower loss, and median change in nats")
    console.print(summary)


Size = tuple[float, ...]
"""Depth, width, budget in steps."""


def _dense_losses(table: Table) -> dict[Size, float]:
    """Of each size the lowest loss, where the table has several settings of training."""
    c = table.columns
    losses: dict[Size, float] = {}
    for row in np.flatnonzero((c["bits"] == DENSE_BITS) & (c["sparsity"] == 0.0)):
        size = tuple(float(c[name][row]) for name in DIMENSIONS)
        losses[size] = min(float(c["loss"][row]), losses.get(size, np.inf))
    return losses


def changes_along(losses: dict[Size, float], dimension: int) -> Floats:
    """Loss of each size minus that of its smaller neighbour along a dimension, ``(pairs,)``."""

    def changes() -> Iterator[float]:
        levels = sorted({size[dimension] for size in losses})
        for size, loss in losses.items():
            index = levels.index(size[dimension])
            if index > 0:
                smaller = (*size[:dimension], levels[index - 1], *size[dimension + 1 :])
                yield loss - losses[smaller]

    return np.array(list(changes()))


def _pairs(changes: Floats) -> str:
    """How many of how many fall, and the median change."""
    return f"{(changes < 0.0).sum()} of {len(changes)}, {np.median(changes):+.3f}"


def _qualities(table: Table, path: Path) -> tuple[str, str]:
    """The lowest quality of a dense model, and that of a guess."""
    c = table.columns
    dense = (c["bits"] == DENSE_BITS) & (c["sparsity"] == 0.0)
    search = load(str(path).replace(".csv.gz", ".yaml"), ())
    return f"{table.accuracy[dense].min():.3f}", f"{search.metric.guessing_quality:.3f}"


def _print_losses(console: Console, name: str, losses: dict[Size, float]) -> None:
    budgets = sorted({size[2] for size in losses})
    lines = lines_of("steps", *(f"{budget:g}" for budget in budgets))
    for depth, width in sorted({size[:2] for size in losses}):
        each = (f"{losses[depth, width, budget]:.3f}" for budget in budgets)
        lines.add_row(f"{depth:g}×{width:g}", *each)
    console.print(f"\n{name}: loss of dense models in nats", style="bold")
    console.print(lines)


def lines_of(first: str, *others: str) -> Lines:
    """A table without lines: a column of names, and columns of numbers."""
    lines = Lines(box=None, header_style="bold", pad_edge=False)
    lines.add_column(first)
    for name in others:
        lines.add_column(name, justify="right")
    return lines


if __name__ == "__main__":
    main()
