"""The frontier as a PNG, for everything that is not a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from search.pareto import Scale, frontier, hypervolume_history
from search.plots.pareto_points import LIMIT, LINE, frontier_steps, grouped_points, tick_text
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile


def frontier_png(records: list[TrialRecord], search: SearchFile, scale: Scale, path: Path) -> None:
    """The frontier and the hypervolume over finished trials as a picture, replaced whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_frontier(left, records, search)
    # Beneath, where it hides no point.
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    history = hypervolume_history(records, search.criteria, scale)
    right.step(range(1, len(history) + 1), history, where="post", color=LINE)
    right.set_xlabel("finished trials")
    right.set_ylabel("hypervolume (share of the box)")
    figure.suptitle(search.name, fontsize=12)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    temporary = path.with_name(f"{path.stem}.new.png")
    figure.savefig(temporary, dpi=130)
    os.replace(temporary, path)


def _draw_frontier(axes: Any, records: list[TrialRecord], search: SearchFile) -> None:
    for group in grouped_points(records, search):
        axes.scatter(
            group.costs, group.scores, s=22, alpha=0.75, color=group.colour,
            label=group.name, linewidths=0,
        )  # fmt: skip
    members = frontier(records, search.criteria)
    x = [r.result[search.cost.name] for r in members]
    y = [r.result["score"] for r in members]
    below = [r.result["score"] - r.result["score_low"] for r in members]
    above = [r.result["score_high"] - r.result["score"] for r in members]
    axes.step(*frontier_steps(records, search), where="post", color=LINE)
    axes.errorbar(
        x, y, yerr=(below, above), fmt="o", color=LINE, markersize=5, elinewidth=0.8, capsize=2,
        label="frontier, with 95 % intervals",
    )  # fmt: skip
    limit = search.criteria.limit
    if limit is not None:
        axes.axvline(limit, linestyle="--", color=LIMIT, linewidth=1)
        axes.annotate(
            "limit", (limit, 0.02), xycoords=("data", "axes fraction"), fontsize=9,
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel(search.cost.axis)
    axes.set_ylabel(f"{search.metric.name} on validation")
    if not search.metric.is_maximised:
        # Up is better everywhere.
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
        low, high = axes.dataLim.intervaly
        # Without any data they are infinite.
        axes.set_ylim(*((high * 1.03, low / 1.03) if low <= high else (10.0, 1.0)))


def _plain_ticks(axis: Any) -> None:
    """Numbers such as 0.2 in place of powers of ten: the axis spans one or two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axis.set_minor_formatter(NullFormatter())
