"""The frontier sampler on random parts of the recorded tables, and with other priors.

A part keeps a random subset of the levels of each dimension, so it differs from its table in
size, costs and best runs, although it is not new data. The script prints the sampler's time
relative to the oracle and TPE, the parallel efficiency of the sampler and the oracle, and the
sampler's time with each prior changed relative to its own priors. A prior that is tuned to the
recorded tables would show there.

    python benchmarks/sensitivity.py
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table as Lines
from search_efficiency import TABLES, UNTIL

from search.arrays import Floats
from search.replay.replay import FixedOrder, RowSampler, replay
from search.replay.row_samplers import ROW_SAMPLERS, FrontierRowSampler
from search.replay.table import Table
from search.replay.table_design import design_space_of
from search.samplers.frontier.prior import prior_for
from search.samplers.gp.kernel import Prior

LEAST_LEVELS = {"depth": 2, "width": 2, "budget_steps": 3, "bits": 3, "sparsity": 3}
LEVELS = (0.90, 0.95, 0.98)
WORKERS = (4, 16)


def _slopes(prior: Prior, factor: float) -> Prior:
    return replace(prior, slopes=tuple((mean, factor * spread) for mean, spread in prior.slopes))


def _compression_trends(prior: Prior, factor: float) -> Prior:
    trends = (replace(t, deviation=factor * t.deviation) for t in prior.compression_trends)
    return replace(prior, compression_trends=tuple(trends))


def _deviation(prior: Prior, factor: float, *, number: int) -> Prior:
    changed = list(prior.deviations)
    changed[number] *= factor
    trained, lost, run = changed
    return replace(prior, deviations=(trained, lost, run))


def _scales(prior: Prior, factor: float) -> Prior:
    training, compression = (
        tuple(np.multiply(factor, scales).tolist())
        for scales in (prior.training_scales, prior.compression_scales)
    )
    return replace(prior, training_scales=training, compression_scales=compression)


CHANGES: dict[str, Callable[..., Prior]] = {
    "slopes of training": _slopes,
    "slopes of compression": _compression_trends,
    "deviations of training": partial(_deviation, number=0),
    "deviations of compression": partial(_deviation, number=1),
    "deviation of a run": partial(_deviation, number=2),
    "length scales": _scales,
}
PRIORS: dict[str, Callable[[Prior], Prior]] = {
    f"{what}, times {factor:g}": partial(change, factor=factor)
    for what, change in CHANGES.items()
    for factor in (0.67, 1.5)
}
"""What is changed of the prior of a table."""


@click.command()
@click.option("--parts", default=12, show_default=True, help="Parts of each table.")
@click.option("--seeds", default=2, show_default=True, help="Seeds of each part.")
@click.option("--processes", default=2, show_default=True)
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
def main(parts: int, seeds: int, processes: int, tables: tuple[Path, ...]) -> None:
    """Replay on parts of TABLES (default: those in benchmarks/tables)."""
    paths = tables or sorted(TABLES.glob("*.csv.gz"))
    console = Console(width=100)
    with ProcessPoolExecutor(processes) as pool:

        def seconds(sampler: str, workers: int = 1) -> Floats:
            """Seconds to each level, ``(conditions, replays, levels)``, as from ``_seconds``."""
            jobs = [
                pool.submit(_seconds, path, part, seed, sampler, workers)
                for path in paths
                for part in range(parts)
                for seed in range(seeds)
            ]
            done = (job.result() for job in jobs)
            shown = track(done, sampler, len(jobs), console=Console(stderr=True))
            return np.stack(list(shown), axis=1)

        (own,), (oracle,) = seconds("frontier"), seconds("oracle")
        shared, scratch = seconds("tpe")
        console.print(f"{len(own)} replays on {parts} parts of each of {len(paths)} tables\n")
        _print(
            console,
            "time, of that of",
            {"oracle": own / oracle, "tpe": own / shared, "tpe from scratch": own / scratch},
        )
        _print(
            console,
            "parallel efficiency",
            {
                f"{sampler}, {workers} workers": alone / workers / seconds(sampler, workers)[0]
                for sampler, alone in (("frontier", own), ("oracle", oracle))
                for workers in WORKERS
            },
        )
        _print(
            console,
            "time with another prior, of that with its own",
            {name: seconds(name)[0] / own for name in PRIORS},
        )


def _print(console: Console, title: str, ratios: dict[str, Floats]) -> None:
    """Geometric means over replays with their standard errors, and quartiles of the last level."""
    lines = Lines(box=None, header_style="bold", pad_edge=False)
    lines.add_column(title)
    for name in (*(f"to {level:.0%}" for level in LEVELS), "quartiles of the last"):
        lines.add_column(name, justify="right")
    for name, ratio in ratios.items():
        logarithms = np.log(ratio)
        means = np.exp(logarithms.mean(0))
        errors = logarithms.std(0) / np.sqrt(len(ratio))
        low, high = np.quantile(ratio[:, -1], (0.25, 0.75))
        cells = (f"{m:.2f} ± {e:.0%}" for m, e in zip(means, errors, strict=True))
        lines.add_row(name, *cells, f"{low:.2f}–{high:.2f}")
    console.print(lines)
    console.print()


def _seconds(path: Path, part: int, seed: int, sampler: str, workers: int) -> list[list[float]]:
    """Seconds to each level with shared training; for TPE also from scratch."""
    torch.set_num_threads(1)
    table = _part(Table.read(path), part)
    row_sampler: RowSampler
    if sampler in PRIORS:
        prior = PRIORS[sampler](prior_for(design_space_of(table)))
        row_sampler = FrontierRowSampler(table, seed, prior)
    else:
        row_sampler = ROW_SAMPLERS[sampler](table, seed)
    made = [replay(table, row_sampler, workers=workers, sharing=True, until=UNTIL)]
    if sampler == "tpe":
        # TPE ignores times, so it chooses the same rows without shared training.
        made.append(replay(table, FixedOrder(made[0].rows), workers=1, sharing=False, until=UNTIL))
    return [[each.seconds_to(level) for level in LEVELS] for each in made]


def _part(table: Table, number: int) -> Table:
    """The rows of a table that have a random subset of the levels of each dimension."""
    rng = np.random.default_rng(number)
    kept = np.ones(len(table), dtype=bool)
    for name, levels in table.levels.items():
        least = min(LEAST_LEVELS.get(name, 1), len(levels))
        some = rng.choice(levels, rng.integers(least, len(levels), endpoint=True), replace=False)
        kept &= np.isin(table.columns[name], some)
    return Table.of(table.name, {name: column[kept] for name, column in table.columns.items()})


if __name__ == "__main__":
    main()
