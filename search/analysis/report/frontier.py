"""Score against cost, and the best model at each cost level."""

from __future__ import annotations

from search.analysis.report.report_data import ReportData, Section
from search.pareto import best, dominated, rank
from search.plots.frontier_figure import frontier_charts
from search.plots.pages import Table
from search.plots.trial_points import short_text
from search.results.comparison import edges
from search.seeds import spread_text
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS

BEST = 5
"""Rows where the cost is fixed, and levels mean nothing."""


def frontier_section(data: ReportData) -> Section:
    """Every trial in a chart for each cost."""
    metric, cost = data.score_name, " and ".join(each.noun for each in data.criteria.axes)
    is_fixed = data.criteria.is_at_fixed_cost
    charts = frontier_charts(
        data.records, data.criteria, references=data.references, repeats=data.repeats
    )
    rows = [_row(data, f"#{record.number}", record) for record in data.members]
    return Section(
        name="frontier",
        title=f"Every trial: {metric} and {cost}" if is_fixed else f"What {cost} buys",
        intro="The search is for the best score within its constraints."
        if is_fixed
        else f"The frontier: no trial has a better {metric} at the same {cost} or less.",
        charts=charts,
        caption=_caption(data),
        tables=(
            _table(data, "the frontier as a table", "trial", rows, is_folded=True),
            *_references(data),
        ),
        notes=_notes(data),
    )


def _references(data: ReportData) -> tuple[Table, ...]:
    """What the models are compared with, if it was measured."""
    metric = data.metric
    rows = [
        [
            reference.name,
            metric.text(reference.result["score"]),
            data.interval(reference.result),
            metric.text(reference.scores["test"]["score"]),
            f"{reference.size_mb:.3g} MB",
            reference.description,
        ]
        for reference in data.references
    ]
    heads = ("reference", data.score_name, "95 % interval", "test", "size", "how it was made")
    label = "what a person would try in a minute"
    return (Table(label, heads, rows, numeric=(1, 3, 4)),) if rows else ()


def _notes(data: ReportData) -> list[str]:
    """Members that a reference dominates, and ends of dimensions at which all members lie."""
    numbers = ", ".join(f"#{n}" for n in dominated(data.members, data.references, data.criteria))
    circles = f"Open circles: a reference is at least as good, and no larger: {numbers}."
    found = edges(data.space, [member.configuration for member in data.members])
    return [circles] * bool(numbers) + [edge.text for edge in found]


def levels_section(data: ReportData) -> Section:
    """The best model at each cost level; the best few where the cost is fixed."""
    is_fixed = data.criteria.is_at_fixed_cost
    rows = _ranked(data) if is_fixed else _at_levels(data)
    title = "The best five" if is_fixed else "The best at each cost"
    if not any(record for _, record in rows):
        return Section("levels", title, notes=("No trial is within the constraints yet.",))
    first = "rank" if is_fixed else f"{data.cost.noun} at most"
    label = f"the best {data.score_name} at each level of {data.cost.noun}"
    cells = [_row(data, name, record) for name, record in rows]
    return Section(
        name="levels",
        title=title,
        intro="" if is_fixed else f"What to take when the {data.cost.noun} is given.",
        tables=(_table(data, label, first, cells),),
    )


def _at_levels(data: ReportData) -> list[tuple[str, TrialRecord | None]]:
    return [
        (data.cost.text(level), best(data.records, data.criteria, {data.cost.name: level}))
        for level in data.scale.levels()
    ]


def _ranked(data: ReportData) -> list[tuple[str, TrialRecord | None]]:
    within = [record for record in data.complete if record.number in data.allowed]
    ranked = sorted(within, key=lambda record: rank(record, data.criteria), reverse=True)
    return [(f"{rank}.", record) for rank, record in enumerate(ranked[:BEST], start=1)]


def _table(
    data: ReportData, label: str, first: str, rows: list[list[str]], *, is_folded: bool = False
) -> Table:
    seeds = ("further seeds", "their test") if data.repeats else ()
    criteria = data.criteria
    scores = [each.name for each in criteria.further_metrics]
    costs = [cost.noun for cost in criteria.axes]
    heads = (first, data.score_name, "95 % interval", *seeds, *scores, *costs, "ratio", "model")
    numeric = (1, *(heads.index(name) for name in (*scores, *costs, "ratio")))
    return Table(label, heads, rows, numeric=numeric, is_folded=is_folded)


def _row(data: ReportData, name: str, record: TrialRecord | None) -> list[str]:
    seeds = _further_seeds(data, record) if data.repeats else []
    if record is None:
        nothing = [""] * (len(data.criteria.axes) + len(data.criteria.further_metrics))
        return [name, "–", "", *seeds, *nothing, "", "nothing yet"]
    result = record.result
    return [
        name,
        data.metric.text(result["score"]),
        data.interval(result),
        *seeds,
        *(metric.text(result[metric.name]) for metric in data.criteria.further_metrics),
        *(cost.text(result[cost.name]) for cost in data.criteria.axes),
        f"{result['compression_ratio']:.1f}×",
        f"{short_text(record.configuration)} (#{record.number})",
    ]


def _further_seeds(data: ReportData, record: TrialRecord | None) -> list[str]:
    """Scores over further seeds on validation and on test, as far as they are known."""
    scores = None if record is None else data.seeds(record)
    spreads = (scores.further, scores.further_test) if scores else (None, None)
    return ["" if each is None else spread_text(each, data.metric.name) for each in spreads]


def _caption(data: ReportData) -> str:
    elsewhere = [
        f"{COSTS[cost].noun} at most {COSTS[cost].text(limit)}"
        for cost, limit in data.criteria.limits.items()
        if cost not in [each.name for each in data.criteria.axes]
    ]
    direction = "" if data.metric.is_maximised else ": the axis is reversed"
    required = f" Also required: {', '.join(elsewhere)}." if elsewhere else ""
    return (
        f"Up is better{direction}. Point at a trial to see its configuration and the trials of the "
        f"same training.{required}"
    )
