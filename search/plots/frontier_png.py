"""The frontier as a static picture, for what cannot show an interactive figure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.hypervolume import Scale, hypervolume_history
from search.pareto import dominated
from search.plots.reference_points import (
    DOMINATED_NAME,
    REFERENCES_NAME,
    ReferencePoints,
)
from search.plots.style import FRONTIER, LIMIT, REFERENCE, tick_text
from search.plots.trial_points import (
    drawable,
    error_bars,
    frontier_steps,
    grouped_points,
    leading_points,
)
from search.storage.references import ReferenceRecord
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria


def frontier_png(
    records: list[TrialRecord],
    criteria: Criteria,
    scale: Scale,
    name: str,
    path: Path,
    references: Sequence[ReferenceRecord] = (),
) -> None:
    """The frontier, and the hypervolume over finished trials; the file is replaced whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_frontier(left, records, criteria, scale, references)
    # Beneath, where it hides no point.
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    history = hypervolume_history(records, criteria, scale)
    right.step(range(1, len(history) + 1), history, where="post", color=FRONTIER)
    right.set_xlabel("finished trials")
    right.set_ylabel("hypervolume (fraction of the box)")
    # Between dollar signs matplotlib reads formulas.
    figure.suptitle(name.replace("$", r"\$"), fontsize=12)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    temporary = path.with_name(f"{path.stem}.new.png")
    figure.savefig(temporary, dpi=130)
    os.replace(temporary, path)


def _draw_frontier(
    axes: Any,
    records: list[TrialRecord],
    criteria: Criteria,
    scale: Scale,
    references: Sequence[ReferenceRecord],
) -> None:
    for group in grouped_points(records, criteria):
        axes.scatter(
            group.costs, group.scores, s=22, alpha=0.75, color=group.colour,
            label=group.name, linewidths=0,
        )  # fmt: skip
    leading = leading_points(records, criteria)
    axes.step(*frontier_steps(records, criteria), where="post", color=FRONTIER)
    axes.errorbar(
        leading.costs, leading.scores, label=leading.name, fmt="o", color=FRONTIER, markersize=5,
        yerr=[error_bars(leading.records, end) for end in ("score_low", "score_high")],
        elinewidth=0.8, capsize=2,
    )  # fmt: skip
    if numbers := dominated(leading.records, references, criteria):
        results = [r.result for r in leading.records if r.number in numbers]
        axes.scatter(
            [r[criteria.cost.name] for r in results], [r["score"] for r in results], s=14,
            color="white", zorder=5, edgecolors=FRONTIER, label=DOMINATED_NAME,
        )  # fmt: skip
    costs = [r.result[criteria.cost.name] for r in drawable(records, criteria)]
    drawn = ReferencePoints.of(references, criteria, costs)
    _draw_references(axes, drawn)
    if limit := criteria.limit:
        axes.axvline(limit, linestyle="--", color=LIMIT, linewidth=1)
        axes.annotate(
            "limit", (limit, 0.02), xycoords=("data", "axes fraction"), fontsize=9,
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_xscale("log")
    if not costs and not drawn.points:
        # Lines of references alone give a logarithmic axis no range.
        axes.set_xlim(scale.lowest, scale.highest)
    plain_ticks(axes.xaxis)
    axes.set_xlabel(criteria.cost.axis)
    axes.set_ylabel(f"{criteria.metric.name} on validation")
    if not criteria.metric.is_maximised:
        # Up is better everywhere.
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
        low, high = axes.dataLim.intervaly
        # Without any data they are infinite.
        axes.set_ylim(*((high * 1.03, low / 1.03) if low <= high else (10.0, 1.0)))


def _draw_references(axes: Any, drawn: ReferencePoints) -> None:
    results = [r.result for r in drawn.points]
    ends = [[abs(r[e] - r["score"]) for r in results] for e in ("score_low", "score_high")]
    if drawn.points:
        axes.errorbar(
            [r.size_mb for r in drawn.points], [r["score"] for r in results], yerr=ends, fmt="D",
            color=REFERENCE, markersize=5, elinewidth=0.8, capsize=2, label=REFERENCES_NAME,
        )  # fmt: skip
    for reference in drawn.points:
        axes.annotate(
            reference.name, (reference.size_mb, reference.result["score"]), fontsize=7,
            color=REFERENCE, xytext=(5, -9), textcoords="offset points",
        )  # fmt: skip
    for reference in drawn.lines:
        score = reference.result["score"]
        axes.axhline(score, linestyle=":", color=REFERENCE, linewidth=1)
        axes.annotate(
            reference.name, (0.995, score), xycoords=("axes fraction", "data"), fontsize=7,
            color=REFERENCE, ha="right", va="bottom",
        )  # fmt: skip


def plain_ticks(axis: Any, digits: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Ticks of a logarithmic axis as numbers such as 0.2 or 500 k in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axis.set_minor_formatter(NullFormatter())
