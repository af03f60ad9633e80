"""Colours, themes and axes that all figures share."""

from __future__ import annotations

import math
from typing import Any

from spaces.cost.metric import Metric
from spaces.cost.units import quantity

DENSE, TRIAL, INFEASIBLE, FRONTIER, LIMIT = "#d1495b", "#8593a1", "#b9c1c8", "#0a8a99", "#7f8b96"
"""Colours that are distinguishable on white and on near black."""
REFERENCE = "#b5651d"
SECOND, THIRD = "#8a6fc9", "#c98a2b"
WORST = 0.05
"""Scores this fraction of the way below guessing, and worse ones, do not stretch the axis."""


def theme(ink: str, quiet: str, grid: str, paper: str) -> dict[str, Any]:
    """A Plotly template for a page with these colours."""
    axis = {"gridcolor": grid, "linecolor": quiet, "zerolinecolor": grid, "tickcolor": quiet}
    return {
        "layout": {
            "font": {"color": quiet, "family": "Inter, system-ui, sans-serif", "size": 12},
            "title": {"font": {"color": ink}},
            "legend": {"font": {"color": quiet}},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [FRONTIER, TRIAL, SECOND, THIRD, DENSE],
            "hoverlabel": {"bgcolor": paper, "bordercolor": grid, "font": {"color": ink}},
            "xaxis": axis,
            "yaxis": axis,
        }
    }


THEMES = {
    "light": theme("#17212b", "#5a6672", "#e7eaec", "#fdfdfc"),
    "dark": theme("#e6eaee", "#9aa7b4", "#2b343d", "#11161b"),
}


def empty_figure(
    *, height: int, x: dict[str, Any], y: dict[str, Any], has_legend: bool = False, **layout: Any
) -> Any:
    """A figure without traces; the script of the page sets its colours."""
    import plotly.graph_objects as go

    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    margin = {"l": 60, "r": 16, "t": 40 if has_legend else 10, "b": 45 if "title" in x else 30}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "xaxis": x,
            "yaxis": {"automargin": True, **y},
            "legend": legend,
            "showlegend": has_legend,
            "margin": margin,
            **layout,
        }
    )


def tick_text(value: float) -> str:
    """A number at an axis, such as ``0.2`` or ``500 k``."""
    return quantity(value).strip()


def log_ticks(values: list[float]) -> list[float]:
    """1, 2 and 5 times each power of ten in the range, and one beyond each end."""
    if not values:
        return []
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    digits = (1, 2, 5) if len(decades) < 5 else (1,)
    return [float(f"{digit}e{decade}") for decade in decades for digit in digits]


def log_axis(values: list[float]) -> dict[str, Any]:
    """A logarithmic Plotly axis for some values."""
    # Plotly's own ticks are digits without their power of ten.
    ticks = log_ticks(values)
    return {"type": "log", "tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks]}


def score_axis(metric: Metric, scores: list[float]) -> dict[str, Any]:
    """A Plotly axis for scores: up is better, so that of a metric that is minimised is reversed.

    Scores far worse than guessing are left outside, where zooming out shows them.
    """
    lowest = metric.guessing_quality - WORST * (1.0 - metric.guessing_quality)
    inside = [score for score in scores if metric.quality(score) >= lowest]
    axis = {} if metric.is_maximised else {**log_axis(inside), "autorange": "reversed"}
    if not inside or len(inside) == len(scores):
        return axis
    bottom, top = min(inside), max(inside)
    if axis:
        bottom, top = math.log10(top), math.log10(bottom)
    margin = 0.05 * (top - bottom)
    return {**axis, "autorange": False, "range": [bottom - margin, top + margin]}
