"""Figures of a search with a function: its frontier, and the best score so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from search.mlflow_links import MlflowLinks
from search.pareto import feasible, in_finish_order, leaders
from search.plots.pages import Chart, render
from search.plots.style import FRONTIER, INFEASIBLE, TRIAL, empty_figure, log_axis
from search.storage.function_study import FunctionStudy
from search.storage.trials import TrialRecord
from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Metric
from spaces.functions.points import Values

Record = TrialRecord[Values]

HEIGHT, SMALL = 420, 240


def write_function_figures(
    study: FunctionStudy, folder: Path, links: MlflowLinks | None = None, server: str = ""
) -> None:
    """Write ``frontier.html``: each score against each cost, or the best score so far where it is
    the only objective.

    Args:
        folder: It is created where it is missing.
        links: Pages of the trials in MLflow, which a click on a point opens.
        server: The MLflow server, for a page that is opened as a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, criteria = study.records(), study.criteria
    charts = frontier_charts(records, criteria, links)
    page = render(
        "search.plots",
        "figure.html.j2",
        title=f"{study.name}: {', '.join(criteria.objectives)}",
        charts=charts or [progress_chart(records, criteria)],
        text="A click on a point opens its run." if links and charts else "",
        server=server if links else None,
    )
    (folder / "frontier.html").write_text(page, encoding="utf-8")


def frontier_charts(
    records: list[Record], criteria: Criteria, links: MlflowLinks | None = None
) -> list[Chart]:
    """Each score against each cost; without a cost, against the first score. None where there is
    one objective."""
    first, *others = criteria.metrics
    pairs: list[tuple[Metric, Cost | Metric]] = [
        (metric, cost)
        for cost in (() if criteria.is_at_fixed_cost else criteria.axes)
        for metric in criteria.metrics
    ] or [(metric, first) for metric in others]
    return [
        Chart(
            _figure(records, criteria, metric, against, links),
            f"{metric.name} against {against.name}: all complete trials and the frontier",
            title=f"{metric.name} against {against.name}" if len(pairs) > 1 else "",
        )
        for metric, against in pairs
    ]


def _figure(
    records: list[Record],
    criteria: Criteria,
    metric: Metric,
    against: Cost | Metric,
    links: MlflowLinks | None,
) -> Any:
    complete = [record for record in records if record.is_complete]
    within = {record.number for record in feasible(records, criteria)}
    members = leaders(records, criteria)
    leading = {record.number for record in members}
    others = [record for record in complete if record.number not in leading]

    def value(record: Record, name: str) -> float:
        is_first = name == criteria.metric.name
        return float(record.result["score" if is_first else name])

    costs = [value(record, against.name) for record in complete]
    axis = log_axis(costs) if isinstance(against, Cost) else up_is_better(against)
    figure = empty_figure(
        height=HEIGHT,
        x={"title": against.name, **axis},
        y={"title": metric.name, **up_is_better(metric)},
        has_legend=True,
    )
    has_line = len(criteria.objectives) == 2 and isinstance(against, Cost)
    for name, colour, shown in (
        ("other trials", TRIAL, [r for r in others if r.number in within]),
        ("beyond a limit", INFEASIBLE, [r for r in others if r.number not in within]),
        ("frontier", FRONTIER, members),
    ):
        if shown:
            figure.add_scatter(
                x=[value(record, against.name) for record in shown],
                y=[value(record, metric.name) for record in shown],
                text=[f"#{r.number} {r.configuration}" for r in shown],
                mode="lines+markers" if shown is members and has_line else "markers",
                line={"shape": "hv"},
                marker={"color": colour},
                name=name,
                customdata=[_identify(record, links) for record in shown],
                hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            )
    return figure


def _identify(record: Record, links: MlflowLinks | None) -> list[Any]:
    """As the script of the pages takes it: every trial has a model of its own."""
    page = "" if links is None else links.trial(record.number)
    return [record.number, record.number, page]


def progress_chart(records: Sequence[Record], criteria: Criteria) -> Chart:
    """The best score so far, over finished trials."""
    metric = criteria.metric
    finished = in_finish_order(records)
    within = {record.number for record in feasible(records, criteria)}
    qualities = [
        metric.quality(r.result["score"]) if r.number in within else float("-inf") for r in finished
    ]
    points = [
        (number, metric.value_at(quality))
        for number, quality in enumerate(accumulate(qualities, max), start=1)
        if quality > float("-inf")
    ]
    figure = empty_figure(
        height=SMALL,
        x={"title": "finished trials"},
        y={"title": metric.name, **up_is_better(metric)},
    )
    figure.add_scatter(
        x=[number for number, _ in points],
        y=[score for _, score in points],
        mode="lines",
        line={"shape": "hv", "color": FRONTIER},
    )
    return Chart(figure, f"the best {metric.name} so far, over finished trials")


def up_is_better(metric: Metric) -> dict[str, Any]:
    """An axis that is reversed where less is better."""
    return {} if metric.is_maximised else {"autorange": "reversed"}
