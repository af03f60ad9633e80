"""Hypervolume, or the best score at a fixed cost, over compute and over finished trials.

``optuna.visualization.plot_hypervolume_history`` has the area in raw units, over trials alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from search.analysis.report.compute import seconds_spent
from search.analysis.report.report_data import ReportData, Section
from search.hypervolume import hypervolume_history
from search.pareto import in_finish_order, quality
from search.plots.pages import Chart, Table
from search.plots.style import FRONTIER, empty_figure, score_axis
from search.plots.trial_points import trial_text
from search.storage.trials import TrialRecord
from spaces.cost.units import duration

HEIGHT = 300
NEARLY = 0.95


class _History(NamedTuple):
    """What was reached after each finished trial, in the order in which they finished.

    ``texts`` are ``values`` as people read them, and ``axis`` is that of Plotly.
    """

    name: str
    records: list[TrialRecord]
    values: list[float]
    texts: list[str]
    seconds: list[float]
    axis: dict[str, Any]

    @property
    def rises(self) -> list[int]:
        """Indices at which more was reached than before."""
        return [k for k, value in enumerate(self.values) if k == 0 or value != self.values[k - 1]]


def progress_section(data: ReportData) -> Section:
    """Two charts of one history, and its steps as a table."""
    title = "How the search got there"
    if data.best is None:
        note = "Nothing within the constraints is finished yet."
        return Section("progress", title, notes=(note,))
    history = _best_so_far(data) if data.criteria.is_at_fixed_cost else _hypervolume(data)
    unit, per = _time_unit(history.seconds[-1])
    axes: dict[str, Sequence[float]] = {
        f"compute ({unit})": [seconds / per for seconds in history.seconds],
        "finished trials": range(1, len(history.records) + 1),
    }
    rows = [
        (f"#{history.records[k].number}", k + 1, duration(history.seconds[k]), history.texts[k])
        for k in history.rises
    ]
    heads = ("trial", "finished trials", "compute", history.name)
    return Section(
        name="progress",
        title=title,
        intro=_sentence(history),
        charts=tuple(
            Chart(
                _figure(data, history, x, label),
                f"{history.name} over {label}, from {history.texts[0]} to {history.texts[-1]}",
            )
            for label, x in axes.items()
        ),
        tables=(Table("each improvement", heads, rows, numeric=(1, 2, 3), is_folded=True),),
    )


def _hypervolume(data: ReportData) -> _History:
    records = in_finish_order(data.records)
    values = hypervolume_history(data.records, data.criteria, data.scale)
    texts = [f"{value:.3f}" for value in values]
    axis = {"rangemode": "tozero"}
    return _History("hypervolume", records, values, texts, _compute(records), axis)


def _best_so_far(data: ReportData) -> _History:
    records = in_finish_order(data.records)
    qualities = [
        quality(r, data.criteria) if r.number in data.allowed else -float("inf") for r in records
    ]
    best = list(accumulate(qualities, max))
    # Before the first feasible trial there is no best one.
    start = next(k for k, value in enumerate(best) if value > -float("inf"))
    values = [data.metric.value_at(value) for value in best[start:]]
    return _History(
        f"best {data.score_name} so far",
        records[start:],
        values,
        [data.metric.text(value) for value in values],
        _compute(records)[start:],
        score_axis(data.metric, values),
    )


def _compute(records: list[TrialRecord]) -> list[float]:
    return list(accumulate(seconds_spent([r]) if r.is_complete else 0.0 for r in records))


def _time_unit(seconds: float) -> tuple[str, float]:
    units = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))
    return next((unit for unit in units if seconds >= 3 * unit[1]), ("seconds", 1.0))


def _sentence(history: _History) -> str:
    """How soon the search had most of its hypervolume."""
    if history.name != "hypervolume" or history.values[-1] <= 0.0:
        return ""
    index = next(k for k, v in enumerate(history.values) if v >= NEARLY * history.values[-1])
    return (
        f"95\u202f% of it was reached after {index + 1:,} of {len(history.records):,} trials and "
        f"{duration(history.seconds[index])} of compute."
    )


def _figure(data: ReportData, history: _History, x: Sequence[float], label: str) -> Any:
    rises = history.rises
    figure = empty_figure(
        height=HEIGHT,
        x={"title": label, "rangemode": "tozero"},
        y={"title": history.name, **history.axis},
    )
    figure.add_scatter(
        x=[*(x[k] for k in rises), x[-1]],
        y=[*(history.values[k] for k in rises), history.values[-1]],
        mode="lines+markers",
        line={"shape": "hv", "color": FRONTIER},
        marker={"size": [6] * len(rises) + [0], "color": FRONTIER, "line": {"width": 0}},
        hovertext=[
            f"{history.name} {history.texts[k]}<br>{trial_text(history.records[k], data.criteria)}"
            if history.records[k].is_complete
            else ""
            for k in rises
        ],
        hoverinfo="text",
    )
    return figure
