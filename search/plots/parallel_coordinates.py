"""All trials as lines over the dimensions of the search, its cost and its score.

``optuna.visualization.plot_parallel_coordinate`` draws a trace a trial, which cannot be selected
along an axis.
"""

from __future__ import annotations

import math
from typing import Any

from search.plots.style import log_ticks, tick_text
from search.plots.trial_points import drawable, metric_name
from search.storage.trials import TrialRecord
from spaces.cost.compression import Pruning, Quantisation
from spaces.cost.criteria import Criteria
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

MOST_TICKS = 12
HEIGHT = 560


def parallel_figure(records: list[TrialRecord], space: SearchSpace) -> Any:
    """A line for each complete trial, coloured by its score; drag along an axis to select.

    Dimensions that are the same in all trials are left out.
    """
    import plotly.graph_objects as go

    criteria = space.criteria
    complete = drawable(records, criteria)
    dimensions = dict.fromkeys([*(d.name for d in space.dimensions), *COMPRESSION_FIELDS])
    values = {d: [r.configuration.value_of(d) for r in complete] for d in dimensions}
    axes = [_ordinal(_label(d, space), v) for d, v in values.items() if len(set(v)) > 1]
    for cost in criteria.axes:
        axes.append(_log(cost.axis, [r.result[cost.name] for r in complete]))
    axes.append(_score(criteria, [r.result["score"] for r in complete]))
    line = {
        "color": axes[-1]["values"],
        "colorscale": "Viridis",
        # The best is yellow, whichever way the metric goes.
        "reversescale": not criteria.metric.is_maximised,
    }
    margin = {"l": 70, "r": 60, "t": 50, "b": 40}
    return go.Figure(
        go.Parcoords(dimensions=axes, line=line),
        layout={"template": "none", "height": HEIGHT, "margin": margin},
    )


def _label(dimension: str, space: SearchSpace) -> str:
    unit = f" ({space.schedule.unit})" if dimension == "budget" else ""
    return dimension.replace("_", " ") + unit


def _score(criteria: Criteria, scores: list[float]) -> dict[str, Any]:
    """Up is better everywhere: the axis of a metric that is minimised is reversed."""
    label = metric_name(criteria)
    if criteria.metric.is_maximised:
        return {"label": label, "values": scores}
    axis = _log(label, scores)
    values = axis["values"] or [0.0]
    return {**axis, "range": [max(values), min(values)]}


def _ordinal(label: str, values: list[Any]) -> dict[str, Any]:
    """An axis by position: words have no number, and numbers that double would crowd at one end."""
    known = sorted(set(values), key=_rank)
    ticks = range(0, len(known), math.ceil(len(known) / MOST_TICKS))
    shown = (known[tick] for tick in ticks)
    return {
        "label": label,
        "values": [known.index(value) for value in values],
        "tickvals": list(ticks),
        "ticktext": [each if isinstance(each, str) else tick_text(each) for each in shown],
    }


def _rank(value: Any) -> tuple[float, str]:
    """Words from the mildest to the heaviest, as their kind lists them; checkpoints by name."""
    if not isinstance(value, str):
        return float(value), ""
    words = [*Quantisation, *Pruning]
    return (float(words.index(value)), "") if value in words else (0.0, value)


def _log(label: str, values: list[float]) -> dict[str, Any]:
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    inside = [tick for tick in log_ticks(values) if low <= tick <= high]
    return {
        "label": label,
        "values": [math.log10(value) for value in values],
        "tickvals": [math.log10(tick) for tick in inside],
        "ticktext": [tick_text(tick) for tick in inside],
    }
