"""Draw one choice of the frontier sampler in a replay: docs/search_choice.png.

The left panel shows the finished trials and the predicted accuracy of the chosen training run under
every compression. The right panel shows expected gain and cost of every candidate.

    python benchmarks/search_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from search.arrays import Integers
from search.replay.row_samplers import FrontierRowSampler
from search.replay.table import Table
from search.samplers.frontier.acquisition import Proposals

TABLE = Path(__file__).parent / "tables" / "embedded.csv.gz"
TRAIN, COMPRESS, CHOSEN = "#00798c", "#edae49", "#d1495b"


@click.command()
@click.argument("table", default=TABLE, type=click.Path(path_type=Path))
@click.option("--trials", default=30, show_default=True, help="Finished trials before the choice.")
@click.option("--out", default="docs/search_choice.png", show_default=True)
def main(table: Path, trials: int, out: str) -> None:
    """Replay TABLE for some trials and draw the choice that follows."""
    recorded = Table.read(table)
    row_sampler = FrontierRowSampler(recorded, seed=0)
    rows = []
    for _ in range(trials):
        row = row_sampler.ask()
        assert row is not None, "the table has fewer rows"
        row_sampler.tell(row)
        rows.append(row)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    proposals = row_sampler.designer.proposals([])
    _draw_frontier(left, recorded, np.array(rows), proposals)
    _draw_proposals(right, proposals)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)


def _draw_frontier(axes: Axes, table: Table, rows: Integers, proposals: Proposals) -> None:
    """Finished trials, and the prediction for each compression of the chosen run."""
    sizes = 10**table.log_size / 1e6
    axes.scatter(sizes[rows], table.accuracy[rows], color="#7a8b99", s=18, label="trials so far")
    order = rows[np.argsort(table.log_size[rows])]
    best = np.maximum.accumulate(table.accuracy[order])
    axes.step(sizes[order], best, where="post", color="#333333", linewidth=1, label="frontier")
    chosen = proposals.best()
    assert chosen is not None
    block = int(np.flatnonzero(proposals.runs == chosen.run)[0])
    low, middle, high = np.quantile(proposals.quality[:, block], (0.1, 0.5, 0.9), axis=0)
    rows_of = np.flatnonzero(table.run == chosen.run)
    there = np.searchsorted(proposals.compressions, table.compression[rows_of])
    low, middle, high = low[there], middle[there], high[there]
    offered = sizes[rows_of]
    axes.errorbar(
        offered,
        middle,
        yerr=[middle - low, high - middle],
        fmt="o",
        color=CHOSEN,
        markersize=4,
        elinewidth=0.8,
        alpha=0.8,
        label="the chosen run, 80 % interval",
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("size (MB), known before training")
    axes.set_ylabel("accuracy, predicted")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


def _draw_proposals(axes: Axes, proposals: Proposals) -> None:
    """Expected gain against seconds, with lines of equal gain per second."""
    there = np.isfinite(proposals.gain) & (proposals.gain > 1e-7)
    groups = [
        ("train, then compress", there & ~proposals.trained[:, None], TRAIN),
        ("compress what is trained", there & proposals.trained[:, None], COMPRESS),
    ]
    for name, mask, colour in groups:
        axes.scatter(proposals.seconds[mask], proposals.gain[mask], s=14, color=colour, label=name)
    best = np.unravel_index(int(proposals.rate.argmax()), proposals.gain.shape)
    rate = proposals.rate[best]
    seconds = np.array([proposals.seconds[there].min(), proposals.seconds[there].max()])
    for fraction in (1.0, 0.1, 0.01):
        axes.plot(seconds, fraction * rate * seconds, color="#999999", linewidth=0.7, linestyle=":")
    axes.plot(
        proposals.seconds[best],
        proposals.gain[best],
        "o",
        color=CHOSEN,
        markersize=9,
        label="chosen",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(proposals.gain[there].min(), 1e-3 * proposals.gain[there].max()), None)
    axes.set_xlabel("seconds that it would take now (dotted: equal gain per second)")
    axes.set_ylabel("expected hypervolume gained")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


if __name__ == "__main__":
    main()
