"""Several searches of one task and data: their frontiers in one figure, and their hypervolumes in
one box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.hypervolume import CostRange, Scale, hypervolume_of
from search.pareto import best, leaders
from search.plots.compared_frontiers import compared_figure
from search.plots.pages import Chart, render
from search.plots.trial_points import metric_name
from search.results.query_result import QueryResult
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.storage import Locations

FILE = "comparison.html"


class ComparedSearch(QueryResult):
    """One of several searches that are compared."""

    name: str
    complete: int
    """Complete trials."""
    frontier: int
    """Trials on its frontier."""
    hypervolume: float
    """Fraction that its frontier dominates of the box that all of the searches have."""
    metric: str
    best_score: float | None
    """The best score within its constraints, on validation, with its 95 % interval."""
    score_low: float | None
    score_high: float | None
    best_trial: int | None


class Comparison(QueryResult):
    """Several searches, and the box of their hypervolumes."""

    searches: list[ComparedSearch]
    ranges: dict[str, tuple[float, float]]
    """The least and the highest cost of the box, by cost; the highest is the reference point."""
    page: str
    """Path of the page with their frontiers."""


def compare(studies: Sequence[Study], folder: Path | None = None) -> Comparison:
    """Compare searches, and write their frontiers to ``comparison.html``.

    Args:
        studies: Two or more.
        folder: Of the page; by default among the reports of the first search.

    Raises:
        UserError: They are of different tasks, data, metrics or costs, or the folder cannot be
            written.
    """
    _refuse_different(studies)
    scale = _common_scale([Scale.of(study.space) for study in studies])
    searches = [(each.name, each.criteria, each.records()) for each in studies]
    where = Locations.of(studies[0].search.storage)
    page = (folder or where.reports / studies[0].name) / FILE
    _write(page, searches)
    rows = []
    for name, criteria, records in searches:
        top = best(records, criteria, {})
        result: dict[str, Any] = {} if top is None else top.result
        rows.append(
            ComparedSearch(
                name=name,
                complete=sum(record.is_complete for record in records),
                frontier=len(leaders(records, criteria)),
                hypervolume=hypervolume_of(records, criteria, scale),
                metric=criteria.metric.name,
                best_score=result.get("score"),
                score_low=result.get("score_low"),
                score_high=result.get("score_high"),
                best_trial=None if top is None else top.number,
            )
        )
    ranges = {each.cost.name: (each.lowest, each.highest) for each in scale.cost_ranges}
    return Comparison(searches=rows, ranges=ranges, page=str(page))


def _refuse_different(studies: Sequence[Study]) -> None:
    """Refuse searches whose scores or costs are not of one kind, and a single one."""
    if len({study.name for study in studies}) < 2:
        raise UserError("name at least two searches")
    first, *others = studies
    for other in others:
        one, two = (_kind(each) for each in (first, other))
        faults = [
            f"{field}: {first.name} has {one[field]}, {other.name} has {two[field]}"
            for field in one
            if one[field] != two[field]
        ]
        if faults:
            raise UserError(
                "\n".join(
                    [*faults, "only searches of one task, data and objectives can be compared"]
                )
            )


def _kind(study: Study) -> dict[str, str]:
    """What makes the scores and costs of a search comparable with those of another."""
    criteria = study.criteria
    return {
        "task": study.search.task.name,
        "data": study.data.get("fingerprint", "none yet"),
        "metric": ", ".join(metric.name for metric in criteria.metrics),
        "cost": ", ".join(cost.name for cost in criteria.axes),
    }


def _common_scale(scales: Sequence[Scale]) -> Scale:
    """The smallest box that holds those of some searches."""
    ranges = [
        CostRange(each[0].cost, min(r.lowest for r in each), max(r.highest for r in each))
        for each in zip(*(scale.cost_ranges for scale in scales), strict=True)
    ]
    first, *further = ranges
    return replace(
        scales[0], lowest=first.lowest, highest=first.highest, further_costs=tuple(further)
    )


def _write(page: Path, searches: Sequence[tuple[str, Any, Any]]) -> None:
    _, criteria, _ = searches[0]
    names = " and ".join(name for name, _, _ in searches)
    what = f"{metric_name(criteria)} against {criteria.cost.noun}"
    text = render(
        "search.plots",
        "figure.html.j2",
        title=f"{names}: {what}",
        charts=[Chart(compared_figure(searches), f"{what} of {names}, a frontier for each")],
        text="",
        server=None,
    )
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page.parent} cannot be written: {error.strerror}") from error
