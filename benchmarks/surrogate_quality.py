"""How well the frontier sampler's surrogate predicts training runs that it has not seen.

From some runs of a recorded table, drawn with cheap ones likelier, under five compressions each, it
predicts all other runs: mean absolute error and CRPS (Gneiting & Raftery 2007) as shares of the
table's range of accuracies, and how many results its 80 % intervals hold. One draw of
hyperparameters beside the mixture of several.

    python benchmarks/surrogate_quality.py
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table as Lines

from search.arrays import Floats
from search.replay.table import Table, menu_of
from search.samplers.frontier.design_space import Trial
from search.samplers.frontier.designer import PROCESSES
from search.samplers.frontier.features import PRIOR
from search.samplers.gp.gaussian_process import Surrogate
from search.samplers.gp.hyperparameters import draw
from search.samplers.gp.kernel import Features
from search.samplers.gp.outcome_transform import Transform

TABLES = Path(__file__).parent / "tables"
COMPRESSIONS = 5
SAMPLES = 256
RUNS = (6, 12, 24)


@click.command()
@click.option("--seeds", default=12, show_default=True)
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
def main(seeds: int, tables: tuple[Path, ...]) -> None:
    """Predict unseen runs of TABLES, by default of those beside this script."""
    lines = Lines(box=None, header_style="bold", pad_edge=False)
    lines.add_column("table")
    for name in ("runs seen", "draws", "error", "CRPS", "in 80 % interval"):
        lines.add_column(name, justify="right")
    for path in tables or sorted(TABLES.glob("*.csv.gz")):
        table = Table.read(path)
        for runs in RUNS:
            for processes in (1, PROCESSES):
                figures = [_predict(table, runs, processes, seed) for seed in range(seeds)]
                error, crps, inside = np.mean(figures, axis=0)
                cells = (f"{error:.1%}", f"{crps:.1%}", f"{inside:.0%}")
                lines.add_row(table.name, str(runs), str(processes), *cells)
    Console(width=90).print(lines)


def _predict(table: Table, count: int, processes: int, seed: int) -> tuple[float, float, float]:
    """Error, CRPS and coverage on the rows of the runs that are not among ``count`` seen ones."""
    rng = np.random.default_rng([seed, count])
    menu = menu_of(table)
    trials = _history(table, count, rng)
    transform = Transform.of(trials, None)
    values, noise = transform.values(trials), transform.noise(trials)
    seen = Features(
        menu.runs[[t.run for t in trials]],
        menu.compressions[[t.compression for t in trials]],
        np.array([t.run for t in trials]),
    )
    width = len(menu.compressions)
    runs = np.repeat(np.arange(len(menu.runs)), width)
    everything = Features(menu.runs[runs], np.tile(menu.compressions, (len(menu.runs), 1)), runs)
    hyperparameters = draw(seen, values, noise, PRIOR, count=processes, rng=rng)
    surrogate = Surrogate(everything, width, PRIOR, hyperparameters)
    surrogate.observe(seen, values, noise)
    # What is predicted is a measurement, so that the noise of the evaluation set comes on top.
    values = surrogate.posterior.samples(rng.standard_normal((SAMPLES // processes, width)))
    noise = transform.noise_at(surrogate.posterior.mean)
    samples = transform.quality(values + np.sqrt(noise) * rng.standard_normal(values.shape))
    rest = np.flatnonzero(~np.isin(table.run, [t.run for t in trials]))
    predicted = samples[:, table.run[rest], table.compression[rest]]
    real = table.accuracy[rest]
    span = np.ptp(table.accuracy)
    low, high = np.quantile(predicted, (0.1, 0.9), axis=0)
    return (
        float(np.abs(predicted.mean(0) - real).mean() / span),
        float(_crps(predicted, real) / span),
        float(((low <= real) & (real <= high)).mean()),
    )


def _history(table: Table, count: int, rng: np.random.Generator) -> list[Trial]:
    _, first = np.unique(table.run, return_index=True)
    c = table.columns
    price = c["train_seconds_stable"][first] + c["train_seconds_cooldown"][first]
    likely = price**-0.5 / (price**-0.5).sum()
    trials = []
    for run in rng.choice(len(first), min(count, len(first) // 2), replace=False, p=likely):
        rows = np.flatnonzero(table.run == run)
        for row in rng.choice(rows, min(COMPRESSIONS, len(rows)), replace=False):
            trials.append(Trial(int(run), int(table.compression[row]), float(table.accuracy[row])))
    return trials


def _crps(samples: Floats, real: Floats) -> float:
    """Continuous ranked probability score of samples, ``(samples, n)``, for results, ``(n,)``."""
    ordered = np.sort(samples, axis=0)
    count = len(ordered)
    weights = (2 * np.arange(count) + 1 - count)[:, None]
    spread = (weights * ordered).sum(0) / count**2
    return float((np.abs(ordered - real).mean(0) - spread).mean())


if __name__ == "__main__":
    main()
