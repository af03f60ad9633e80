"""How far do runs that differ only in their seed lie apart, and is larger better beyond that?

Reads a recorded table and one with further seeds of its dense models. Prints the standard deviation
between seeds, and along depth, width and budget how many pairs of neighbours fall or rise in the
mean loss by more than twice its standard error. The further seeds were recorded with

    for seed in 1 2 3; do
        python benchmarks/record_table.py benchmarks/tables/images.yaml seed-$seed.csv \\
            --set seed=$seed --set space.quantisation=none --set space.sparsity=0
    done

    python benchmarks/seed_noise.py images
"""

from __future__ import annotations

from itertools import pairwise

import click
import numpy as np
import pandas as pd
from loss_by_size import DENSE_BITS, TABLES, lines_of
from rich.console import Console
from rich.table import Table as Lines

DIMENSIONS = ["depth", "width", "budget_steps"]
SIGNIFICANT = 2.0
"""Standard errors of a difference beyond which it is counted as one."""


@click.command()
@click.argument("name")
def main(name: str) -> None:
    """Print the noise of the table NAME, and its pairs of neighbouring sizes."""
    tables = [pd.read_csv(TABLES / folder / f"{name}.csv.gz") for folder in (".", "seeds")]
    rows = pd.concat(tables)
    dense = rows[(rows["bits"] == DENSE_BITS) & (rows["sparsity"] == 0.0)]
    losses = dense.pivot_table(index=DIMENSIONS, columns="seed", values="loss").dropna()
    scores = dense.pivot_table(index=DIMENSIONS, columns="seed", values="accuracy").dropna()
    console = Console(width=100)
    console.print(f"{name}: {len(losses)} dense models, seeds {list(losses.columns)}")
    console.print(_noise(losses, scores))
    console.print(_pairs(np.log(losses)))


def _noise(losses: pd.DataFrame, scores: pd.DataFrame) -> Lines:
    """Mean loss, and deviations between seeds, budget by budget over all sizes."""
    lines = lines_of("steps", "mean loss", "deviation", "relative", "deviation of the score")
    for budget, group in losses.groupby("budget_steps"):
        lines.add_row(
            f"{budget:g}",
            f"{group.to_numpy().mean():.3f}",
            f"{_deviation(group):.3f}",
            f"{_deviation(np.log(group)):.0%}",
            f"{_deviation(scores.loc[group.index]):.3f}",
        )
    return lines


def _pairs(losses: pd.DataFrame) -> Lines:
    """Pairs of neighbours along each dimension whose mean logarithm of the loss falls.

    Standard errors come from the variance between seeds, pooled over the sizes of a budget.
    """
    seeds = len(losses.columns)
    variances = losses.var(axis=1).groupby("budget_steps").transform("mean") / seeds
    means = losses.mean(axis=1)
    lines = lines_of("larger", "pairs", "lower mean", "clearly lower", "clearly higher", "one seed")
    for dimension in DIMENSIONS:
        larger = _larger(means.index, dimension)
        known = larger[larger.isin(means.index)]
        smaller = means.index[larger.isin(means.index)]
        change = means[known].to_numpy() - means[smaller].to_numpy()
        error = np.sqrt(variances[known].to_numpy() + variances[smaller].to_numpy())
        single = (losses.loc[known].to_numpy() < losses.loc[smaller].to_numpy()).sum(0)
        lines.add_row(
            dimension.removesuffix("_steps"),
            f"{len(change)}",
            f"{(change < 0.0).sum()}",
            f"{(change < -SIGNIFICANT * error).sum()}",
            f"{(change > SIGNIFICANT * error).sum()}",
            f"{single.min()}–{single.max()}",
        )
    return lines


def _larger(sizes: pd.Index[tuple[float, ...]], dimension: str) -> pd.MultiIndex:
    """Each size with the next level of a dimension; the last level becomes NaN."""
    frame = sizes.to_frame(index=False)
    levels = sorted(frame[dimension].unique())
    frame[dimension] = frame[dimension].map(dict(pairwise(levels)))
    return pd.MultiIndex.from_frame(frame)


def _deviation(values: pd.DataFrame) -> float:
    return float(np.sqrt(values.var(axis=1).mean()))


if __name__ == "__main__":
    main()
