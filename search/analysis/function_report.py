"""The report of a search whose objective is a function: one page that needs no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from search.analysis.mlflow_artefacts import Report, write_page
from search.analysis.report.report_data import Section
from search.pareto import best, feasible, leaders
from search.plots.function_figures import SMALL, frontier_charts, progress_chart, up_is_better
from search.plots.pages import Chart, Table, render
from search.plots.style import FRONTIER, empty_figure, log_axis, tick_text
from search.samplers.frontier.features import FAR_APART
from search.storage.function_study import FunctionStudy
from search.storage.trials import TrialRecord, gpu_hours
from spaces.cost.criteria import Criteria
from spaces.cost.units import duration
from spaces.functions.points import Values, value_text
from spaces.grid.grid import Dimension

Record = TrialRecord[Values]

MOST_ROWS = 50


def write_function_report(study: FunctionStudy, folder: Path | None = None) -> Report:
    """Write the report of a search with a function, and log it to its run in MLflow.

    Args:
        folder: Where to write it; without one, among the reports of the search.

    Raises:
        UserError: The folder cannot be written.
    """
    return write_page(study, study.search.storage, function_report_page(study), folder)


def function_report_page(study: FunctionStudy) -> str:
    """The page as text."""
    records, criteria = study.records(), study.criteria
    complete = [record for record in records if record.is_complete]
    sections = [_failures(records)] if len(complete) < len(records) else []
    if complete:
        sections = [
            _leaders(records, criteria),
            _progress(records, criteria),
            _dimensions(complete, study.space.dimensions, criteria),
            *sections,
        ]
    return render(
        "search.analysis",
        "function_report.html.j2",
        title=f"{study.name}: report",
        name=study.name,
        answer=_answer(records, criteria),
        summary=list(_facts(study, records)),
        sections=sections,
    )


def _answer(records: Sequence[Record], criteria: Criteria) -> str:
    leader = best(records, criteria, {})
    if leader is None:
        return "No complete trial is within the limits yet."
    metrics = ", ".join(f"{n} {value:.4g}" for n, value in leader.result["metrics"].items())
    return f"The best trial is #{leader.number}, {leader.configuration}: {metrics}."


def _facts(study: FunctionStudy, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    search = study.search
    finished = sum(record.is_finished for record in records)
    complete = [record for record in records if record.is_complete]
    limits = ", ".join(f"{name} ≤ {limit:g}" for name, limit in search.limits.items())
    yield "objectives", ", ".join(f"{way} {name}" for name, way in search.objectives.items())
    yield "constraints", limits or "none"
    yield "trials", f"{search.trials:,} planned, {finished:,} finished, {len(complete):,} complete"
    yield "time", duration(sum(record.result["seconds"] for record in complete))
    if hours := gpu_hours(records):
        yield "GPU-hours", f"{hours:.3g}"
    yield "sampler", f"{search.sampler}, seed {search.seed}"
    yield "space", f"{study.space.size:,} points"
    made = [r for record in complete for r in record.result["stages"].values()]
    if made:
        shared = sum(took is None for took in made)
        yield "stages", f"{len(made):,} used, {shared:,} of them stored before"


def _leaders(records: list[Record], criteria: Criteria) -> Section:
    members = leaders(records, criteria)
    if criteria.has_one_objective:
        order = sorted(
            feasible(records, criteria),
            key=lambda each: -criteria.metric.quality(each.result["score"]),
        )
        tables = [_table("the best trials", order[:MOST_ROWS])]
        return Section("best", "The best trials", tables=tables)
    return Section(
        "frontier",
        "The frontier",
        intro="Trials that no other beats on all objectives.",
        charts=frontier_charts(records, criteria),
        tables=[_table("the frontier", members[:MOST_ROWS])],
    )


def _progress(records: list[Record], criteria: Criteria) -> Section:
    name = criteria.metric.name
    return Section(
        "progress", f"The best {name} so far", charts=[progress_chart(records, criteria)]
    )


def _dimensions(
    complete: list[Record], dimensions: Sequence[Dimension], criteria: Criteria
) -> Section:
    charts = []
    for dimension in dimensions:
        if len(dimension.values) < 2:
            continue
        values = [record.configuration.params[dimension.name] for record in complete]
        figure = empty_figure(
            height=SMALL, x=_axis(dimension, values), y=up_is_better(criteria.metric)
        )
        figure.add_scatter(
            x=values if dimension.is_numeric else list(map(value_text, values)),
            y=[record.result["score"] for record in complete],
            text=[f"#{record.number} {record.configuration}" for record in complete],
            mode="markers",
            marker={"color": FRONTIER},
            hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
        )
        label = f"{criteria.metric.name} against {dimension.name}"
        charts.append(Chart(figure, label, title=dimension.name))
    return Section(
        "dimensions",
        f"{criteria.metric.name} by dimension",
        intro="Each complete trial; the others of its values differ too.",
        charts=charts,
    )


def _failures(records: list[Record]) -> Section:
    failed = [record for record in records if record.is_finished and not record.is_complete]
    left = [record for record in records if not record.is_finished]
    rows = [
        (f"#{r.number}", r.state, str(r.configuration), r.message)
        for r in [*failed[:MOST_ROWS], *left]
    ]
    table = Table("trials without a result", ("trial", "state", "values", "message"), rows)
    return Section("failures", "Trials without a result", tables=[table])


def _table(label: str, records: Sequence[Record]) -> Table:
    metrics = list(dict.fromkeys(name for r in records for name in r.result["metrics"]))
    heads = ("trial", "values", *metrics, "seconds")
    rows = [
        (
            f"#{r.number}",
            str(r.configuration),
            *(_text(r.result["metrics"].get(name)) for name in metrics),
            _text(r.result["seconds"]),
        )
        for r in records
    ]
    return Table(label, heads, rows, numeric=tuple(range(2, len(heads))))


def _axis(dimension: Dimension, values: list[Any]) -> dict[str, Any]:
    if not dimension.is_numeric:
        return {"type": "category", "categoryorder": "array",
                "categoryarray": list(map(value_text, dimension.values))}  # fmt: skip
    low, high = min(dimension.values), max(dimension.values)
    is_wide = low > 0 and high >= FAR_APART * low
    if not is_wide:
        return {}
    axis = log_axis(values)
    # Small charts have no place for more.
    ticks = [tick for tick in axis["tickvals"] if math.log10(tick).is_integer()] or axis["tickvals"]
    return {**axis, "tickvals": ticks, "ticktext": list(map(tick_text, ticks))}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
