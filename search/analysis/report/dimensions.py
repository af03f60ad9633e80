"""What each dimension does: its importance, and the score of every trial by its value.

``optuna.visualization.plot_slice`` has neither configurations on hover nor medians, and is 300
pixels wide for each dimension.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, NamedTuple

import optuna
from optuna.distributions import IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search.analysis.report.report_data import ReportData, Section, percentage
from search.pareto import quality
from search.plots.pages import Chart, Table
from search.plots.style import FRONTIER, SECOND, TRIAL, empty_figure, score_axis
from search.plots.trial_points import amount, trial_text
from search.storage.trials import TrialRecord
from spaces.grid.grid import Dimension

METHOD = (
    "The fraction of the variance over the whole grid that a dimension explains alone, averaged "
    "over all others: fANOVA (Hutter et al. 2014, with Optuna) on a random forest fitted to the "
    "trials. Where the sampler tried little, the forest extrapolates; interactions of dimensions "
    "are in the last row."
)
FEWEST_FITTED = 20
"""Complete trials that a forest needs."""
MOST_FITTED = 2000
"""Trials that the forest is fitted to; more of them take time and change little."""
MOST_TICKS = 14
ROW, MOST_HEIGHT = 26, 400
MOST_POINTS = 1000
"""Trials beside the frontier that each chart shows."""
GOLDEN = 0.618034
"""Multiples of it, modulo 1, are spread evenly: trials of one value lie beside one another."""


class Importance(NamedTuple):
    """What a dimension explains: fractions of the variance of the quality and of the log cost."""

    dimension: Dimension
    score: float
    cost: float


def dimensions_section(data: ReportData) -> Section:
    """The importances, and a chart for each dimension."""
    found = importances(data)
    order = [each.dimension for each in found] or _free(data)
    groups = {dimension.name: _by_value(data, dimension) for dimension in order}
    few = "There are too few different trials to say how important each dimension is."
    return Section(
        name="dimensions",
        title="What each dimension does",
        intro=METHOD if found else few,
        charts=[_chart(data, dimension, groups[dimension.name]) for dimension in order],
        caption="Bars are medians.",
        tables=[*([_importances(data, found)] if found else []), _values(data, groups)],
    )


def _free(data: ReportData) -> list[Dimension]:
    return [dimension for dimension in data.space.dimensions if len(dimension.values) > 1]


def _importances(data: ReportData, found: list[Importance]) -> Table:
    columns = {data.score_name: [each.score for each in found]}
    if not data.criteria.is_at_fixed_cost:
        columns[data.cost.noun] = [each.cost for each in found]
    names = [each.dimension.name.replace("_", " ") for each in found]
    rows = [
        [name, *(percentage(fractions[k]) for fractions in columns.values())]
        for k, name in enumerate(names)
    ]
    rest = [percentage(max(0.0, 1.0 - sum(fractions))) for fractions in columns.values()]
    return Table(
        "importance of each dimension",
        ("importance for", *columns),
        [*rows, ["interactions and noise", *rest]],
        numeric=(1, 2),
    )


def _by_value(data: ReportData, dimension: Dimension) -> dict[Any, list[TrialRecord]]:
    """Complete trials by value, in the order of the dimension, without values that have none."""
    groups: dict[Any, list[TrialRecord]] = {value: [] for value in dimension.values}
    for record in data.complete:
        groups.setdefault(record.configuration.value_of(dimension.name), []).append(record)
    return {value: records for value, records in groups.items() if records}


def _values(data: ReportData, groups: dict[str, dict[Any, list[TrialRecord]]]) -> Table:
    better = max if data.metric.is_maximised else min
    rows = [
        (
            f"{name.replace('_', ' ')} {_text(value)}",
            f"{len(records):,}",
            data.metric.text(_median(records)),
            data.metric.text(better(r.result["score"] for r in records)),
        )
        for name, values in groups.items()
        for value, records in values.items()
    ]
    heads = ("value", "trials", f"median {data.score_name}", "best")
    return Table("scores by value", heads, rows, numeric=(1, 2, 3), is_folded=True)


def _chart(data: ReportData, dimension: Dimension, groups: dict[Any, list[TrialRecord]]) -> Chart:
    members = {record.number for record in data.members}
    drawn = members | {record.number for record in _thinned(data.complete, MOST_POINTS)}
    points = [
        (row + 0.6 * (record.number * GOLDEN % 1.0 - 0.5), record)
        for row, records in enumerate(groups.values())
        for record in records
        if record.number in drawn
    ]
    # Those on the frontier are drawn last, on top.
    points.sort(key=lambda point: point[1].number in members)
    ticks = range(0, len(groups), math.ceil(len(groups) / MOST_TICKS))
    labels = [_text(value) for value in groups]
    scores = [record.result["score"] for _, record in points]
    figure = empty_figure(
        height=min(ROW * len(groups), MOST_HEIGHT) + 50,
        x={"nticks": 6, **score_axis(data.metric, scores)},
        y={
            "tickvals": list(ticks),
            "ticktext": [labels[tick] for tick in ticks],
            "range": [len(groups) - 0.4, -0.6],
            "zeroline": False,
        },
    )
    figure.add_scatter(
        x=[record.result["score"] for _, record in points],
        y=[row for row, _ in points],
        mode="markers",
        marker={
            "color": [FRONTIER if r.number in members else TRIAL for _, r in points],
            "size": 6,
            "opacity": 0.75,
        },
        hovertext=[trial_text(record, data.criteria) for _, record in points],
        hoverinfo="text",
    )
    medians = [_median(records) for records in groups.values()]
    figure.add_scatter(
        x=medians,
        y=list(range(len(groups))),
        mode="lines+markers",
        line={"width": 1, "color": SECOND},
        marker={"symbol": "line-ns", "size": 18, "line": {"width": 2.5, "color": SECOND}},
        hovertext=[f"median {data.metric.text(median)}" for median in medians],
        hoverinfo="text",
    )
    title = dimension.name.replace("_", " ")
    unit = f" in {data.space.schedule.unit}" if dimension.name == "budget" else ""
    return Chart(figure, f"{data.score_name} by {title}", title + unit)


def _median(records: list[TrialRecord]) -> float:
    return float(statistics.median(record.result["score"] for record in records))


def _text(value: Any) -> str:
    return amount(value) if isinstance(value, int | float) else str(value)


def importances(data: ReportData) -> list[Importance]:
    """Importance of each dimension that has several values, the greatest for the score first.

    Empty with fewer than ``FEWEST_FITTED`` complete trials, or where all are alike.
    """
    free = _free(data)
    records = _thinned(data.complete, MOST_FITTED)
    trials = [trial for record in records if (trial := _trial(data, record, free))]
    if len(trials) < FEWEST_FITTED:
        return []
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(trials)
    of_score, of_cost = (_fractions(study, free, objective) for objective in (0, 1))
    if not any(of_score):
        return []
    found = [Importance(*each) for each in zip(free, of_score, of_cost, strict=True)]
    return sorted(found, key=lambda each: -each.score)


def _thinned(records: list[TrialRecord], most: int) -> list[TrialRecord]:
    """At most so many trials, evenly over the search."""
    if len(records) <= most:
        return records
    return [records[k * len(records) // most] for k in range(most)]


def _trial(data: ReportData, record: TrialRecord, free: list[Dimension]) -> FrozenTrial | None:
    """A trial of Optuna: each value as its index in its dimension."""
    values = {each.name: record.configuration.value_of(each.name) for each in free}
    if any(values[each.name] not in each.values for each in free):
        return None
    return create_trial(
        params={each.name: each.values.index(values[each.name]) for each in free},
        distributions={each.name: IntDistribution(0, len(each.values) - 1) for each in free},
        values=[quality(record, data.criteria), math.log(record.result[data.cost.name])],
    )


def _fractions(study: optuna.Study, free: list[Dimension], objective: int) -> list[float]:
    names = [dimension.name for dimension in free]
    try:
        found = get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            params=names,
            target=lambda trial: trial.values[objective],
            normalize=False,
        )
    except RuntimeError:
        # No tree has any variance: the trials are alike.
        return [0.0] * len(free)
    return [float(found[name]) for name in names]
