"""All trials as lines over the dimensions of the search, its cost and its score."""

from __future__ import annotations

import math
from typing import Any

from search.plots.pareto_points import log_ticks, tick_text
from search.storage.trials import TrialRecord
from search.tracking.trial_run import trial_params
from spaces.cost.compression import Pruning, Quantisation
from spaces.cost.metric import Metric
from spaces.file.search_file import SearchFile

SHOWN = (
    "depth", "decoder_depth", "width", "heads", "feed_forward", "budget", "quantisation",
    "group_size", "pruning", "sparsity", "recovery", "seed",
)  # fmt: skip
"""Dimensions, in the order of the stages. ``bits`` follows from ``quantisation``."""
DERIVED = ("decoder_depth", "heads", "feed_forward")
"""Dimensions that follow from depth and width where a search does not name them."""
MOST_TICKS = 12
MARGIN = {"l": 70, "r": 60, "t": 140, "b": 40}


def parallel_html(records: list[TrialRecord], search: SearchFile) -> str:
    """The parallel coordinates as a page that needs no network."""
    page: str = parallel_figure(records, search).to_html(include_plotlyjs=True, full_html=True)
    return page


def parallel_figure(records: list[TrialRecord], search: SearchFile) -> Any:
    """A line for each complete trial, coloured by its score; drag along an axis to choose.

    Dimensions that are the same in all trials, or that follow from others, are left out.
    """
    import plotly.graph_objects as go

    complete = [r for r in records if r.is_complete and r.result[search.cost.name] > 0]
    values = [trial_params(record, search.space.budget.unit) for record in complete]
    axes = [
        _dimension(name, [value[name] for value in values], search)
        for name in SHOWN
        if len({value[name] for value in values}) > 1 and _is_searched(name, search)
    ]
    axes.append(_logarithmic(search.cost.axis, [r.result[search.cost.name] for r in complete]))
    scores = [r.result["score"] for r in complete]
    metric = search.metric
    axes.append(_score(metric, scores))
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={
                "color": axes[-1]["values"],
                "colorscale": "Viridis",
                # The best is yellow, whichever way the metric goes.
                "reversescale": not metric.is_maximised,
                "showscale": False,
            },
        )
    )
    figure.update_layout(
        title={
            "text": f"{search.name}: {len(complete):,} trials, the brighter the better",
            "subtitle": {
                "text": "drag along an axis to choose trials; drag a name to move its axis"
            },
        },
        template="plotly_white",
        margin=MARGIN,
    )
    return figure


def _score(metric: Metric, scores: list[float]) -> dict[str, Any]:
    """Up is better everywhere: the axis of a metric that is minimised is turned over."""
    if metric.is_maximised:
        return {"label": metric.name, "values": scores}
    axis = _logarithmic(metric.name, scores)
    values = axis["values"] or [0.0]
    return {**axis, "range": [max(values), min(values)]}


def _is_searched(name: str, search: SearchFile) -> bool:
    return name not in DERIVED or getattr(search.space, name) is not None


def _dimension(name: str, values: list[Any], search: SearchFile) -> dict[str, Any]:
    label = f"budget ({search.space.budget.unit})" if name == "budget" else name
    known = sorted(set(values), key=_rank)
    # By position: words have no number, and numbers that double would crowd at one end.
    ticks = range(0, len(known), math.ceil(len(known) / MOST_TICKS))
    return {
        "label": label.replace("_", " "),
        "values": [known.index(value) for value in values],
        "tickvals": list(ticks),
        "ticktext": [_text(known[tick]) for tick in ticks],
    }


def _rank(value: Any) -> float:
    """Words from the mildest to the heaviest, as their kind lists them."""
    if isinstance(value, str):
        return [*Quantisation, *Pruning].index(value)
    return float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else tick_text(value)


def _logarithmic(label: str, values: list[float]) -> dict[str, Any]:
    ticks = log_ticks(values)
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    inside = [tick for tick in ticks if low <= tick <= high]
    return {
        "label": label,
        "values": [math.log10(value) for value in values],
        "tickvals": [math.log10(tick) for tick in inside],
        "ticktext": [tick_text(tick) for tick in inside],
    }
