"""The output of ``tlc replay``: hypervolume against seconds, printed, as JSON and as a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.replay.replay import LEVELS, Replay
from search.replay.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

CURVE_POINTS = 400
COLOURS = ("#00798c", "#d1495b", "#edae49", "#66a182", "#2e4057", "#8d96a3", "#a26769", "#6d597a")


@dataclass(frozen=True)
class Summary:
    """One sampler's replays of one table, one for each seed."""

    sampler: str
    sharing: bool
    workers: int
    replays: list[Replay]

    @property
    def label(self) -> str:
        """Name in legends and tables."""
        return f"{self.sampler}{'' if self.sharing else ' from scratch'}"

    @property
    def trials(self) -> float:
        """Median number of finished trials."""
        return float(np.median([len(replay.seconds) - 1 for replay in self.replays]))

    def seconds_to(self, level: float) -> tuple[float, float, float]:
        """Quartiles of the seconds to a fraction of the hypervolume: lower, median, upper.

        Infinity stands for seeds that never reached it.
        """
        reached = [replay.seconds_to(level) for replay in self.replays]
        low, middle, high = np.quantile(reached, (0.25, 0.5, 0.75), method="inverted_cdf")
        return float(low), float(middle), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; null where a fraction was never reached."""
        levels = {}
        for level in LEVELS:
            low, middle, high = map(_finite, self.seconds_to(level))
            levels[f"{level:.0%}"] = {"median": middle, "quartiles": [low, high]}
        return {
            "sampler": self.sampler,
            "sharing": self.sharing,
            "workers": self.workers,
            "seeds": len(self.replays),
            "seconds_to": levels,
            "trials": self.trials,
            "busy_seconds": float(np.median([replay.busy_seconds for replay in self.replays])),
        }


def describe(table: Table, summaries: list[Summary]) -> dict[str, Any]:
    """The results of some replays, as values for JSON."""
    return {
        "table": table.name,
        "rows": len(table),
        "reference_point": {
            "accuracy": float(table.accuracy.min()),
            "log10_size_bytes": float(table.log_size.max()),
        },
        "hypervolume": table.hypervolume(np.arange(len(table))),
        "replays": [summary.to_dict() for summary in summaries],
    }


def draw(table: Table, summaries: list[Summary], path: Path) -> None:
    """Draw each sampler's median hypervolume over the seeds, with its quartiles as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    draw_on(figure.subplots(), table, summaries)
    figure.savefig(path, dpi=150)


def draw_on(axes: Axes, table: Table, summaries: list[Summary]) -> None:
    """Draw on given axes; see ``draw``."""
    ends = [replay.seconds[-1] for summary in summaries for replay in summary.replays]
    starts = [replay.seconds[1] for summary in summaries for replay in summary.replays]
    seconds = np.geomspace(max(min(starts), 1e-3), max(ends), CURVE_POINTS)
    for summary, colour in zip(summaries, COLOURS * len(summaries), strict=False):
        curves = np.stack([replay.hypervolume_at(seconds) for replay in summary.replays])
        low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        style = "-" if summary.sharing else "--"
        axes.plot(seconds, middle, style, color=colour, label=summary.label, linewidth=1.8)
        axes.fill_between(seconds, low, high, color=colour, alpha=0.15, linewidth=0)
    for level in LEVELS[1:3]:
        axes.axhline(level, color="#999999", linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    axes.set_ylim(0.4, 1.005)
    workers = summaries[0].workers
    axes.set_xlabel(f"seconds, {workers} worker{'s' if workers > 1 else ''}")
    axes.set_ylabel("fraction of the table's hypervolume")
    axes.set_title(f"{table.name}: {len(table):,} configurations", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")


def print_summaries(table: Table, summaries: list[Summary], console: Console) -> None:
    """Print for each sampler the seconds to each fraction of the hypervolume, with quartiles."""
    from rich.table import Table as Lines

    lines = Lines(box=None, header_style="bold", pad_edge=False)
    lines.add_column("sampler")
    for level in LEVELS:
        lines.add_column(f"seconds to {level:.0%}", justify="right")
    lines.add_column("trials", justify="right")
    for summary in summaries:
        cells = []
        for level in LEVELS:
            low, middle, high = summary.seconds_to(level)
            quartiles = f"  ({_text(low)}–{_text(high)})" if len(summary.replays) > 1 else ""
            cells.append(f"{_text(middle)}{quartiles}")
        lines.add_row(summary.label, *cells, f"{summary.trials:.0f}")
    first = summaries[0]
    console.print(
        f"{table.name}: {len(table):,} configurations, {len(first.replays)} seeds, "
        f"{first.workers} workers; median (quartiles)",
        highlight=False,
    )
    console.print(lines)


def _text(seconds: float) -> str:
    return f"{seconds:,.0f}" if np.isfinite(seconds) else "never"


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
