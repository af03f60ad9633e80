"""The text output of a comparison of searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from search.cli.printing.tables import make_table
from spaces.cost.inference_cost import COSTS
from spaces.cost.metric import text

if TYPE_CHECKING:
    from search.analysis.compared_searches import Comparison


def print_comparison(made: Comparison, console: Console) -> None:
    """Print a line for each search, and where the page is."""
    table = make_table("search", "complete", "frontier", "hypervolume", "best", left=["search"])
    for each in made.searches:
        best = ""
        if each.best_score is not None and each.best_trial is not None:
            score, low, high = (
                text(each.metric, value or 0.0)
                for value in (each.best_score, each.score_low, each.score_high)
            )
            best = f"{each.metric} {score} ({low}–{high}), #{each.best_trial}"
        table.add_row(
            each.name, str(each.complete), str(each.frontier), f"{each.hypervolume:.3f}", best
        )
    console.print(table)
    ranges = " and ".join(
        f"{COSTS[name].text(low)} to {COSTS[name].text(high)}"
        for name, (low, high) in made.ranges.items()
    )
    console.print(f"hypervolumes in one box, from {ranges}; scores on validation")
    console.print(f"page: {made.page}", soft_wrap=True)
