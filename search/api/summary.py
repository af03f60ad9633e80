"""A search in a line, and as the HTML that a notebook shows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from search.results.schemas import Search
from spaces.cost.metric import text

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("size_mb", "latency_ms", "flops", "compression_ratio", "dominated_by")
"""Columns of the frontier that a notebook shows beside the dimensions and the score."""


def summary_text(search: Search) -> str:
    """A search in a line: its state, its trials and its best score."""
    facts = [f"{search.complete} of {search.trials} trials complete"]
    if search.failed:
        facts.append(f"{search.failed} failed")
    if search.running:
        facts.append(f"{search.running} running")
    facts.append(f"{len(search.frontier)} on the frontier")
    if search.best_score is not None:
        facts.append(f"best {search.metric} {text(search.metric, search.best_score)}")
    return f"<search {search.name!r}, {search.state}: {', '.join(facts)}>"


def summary_html(search: Search, frontier: pd.DataFrame) -> str:
    """The same above a table of the frontier."""
    line = f"<p>{escape(summary_text(search))}</p>"
    if frontier.empty:
        return line
    columns = list(frontier.columns)
    # The dimensions come first, then the score with its interval.
    score = columns.index(f"{search.metric}_high") + 1
    kept = [*columns[:score], *(name for name in SHOWN if frontier[name].notna().any())]
    return line + str(frontier[kept].to_html(float_format="{:.4g}".format, na_rep=""))
