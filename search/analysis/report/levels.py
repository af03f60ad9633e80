"""The best model at each cost level, with its interval drawn on a scale of all."""

from __future__ import annotations

from markupsafe import Markup

from search.analysis.report.axes import Axis
from search.analysis.report.markup import table, tag, words
from search.analysis.report.plot import dot, line
from search.analysis.report.report_data import ReportData, configured
from search.pareto import best
from search.storage.trials import TrialRecord

BEST = 5
"""Rows where the cost is fixed, and levels mean nothing."""


def section(view: ReportData) -> Markup:
    """The table."""
    rows = _best(view) if view.search.is_at_fixed_cost else _at_levels(view)
    if not any(record for _, record in rows):
        return tag("p", "No trial is within the constraints yet.", class_="quiet")
    axis = _axis(view, [record for _, record in rows if record])
    first = "rank" if view.search.is_at_fixed_cost else f"{view.cost.noun} at most"
    heads = (
        first,
        tag("th", view.score_name, scope="col", class_="number"),
        tag("th", "95 % interval", scope="col", class_="wider"),
        tag("th", scope="col", class_="wider"),
        "model",
        tag("th", view.cost.noun, scope="col", class_="number wider"),
        tag("th", "ratio", scope="col", class_="number wider"),
    )
    label = f"the best {view.score_name} at each level of {view.cost.noun}"
    return tag(
        "div",
        table(heads, [_row(view, name, record, axis) for name, record in rows], label=label),
        class_="levels",
    )


def _at_levels(view: ReportData) -> list[tuple[str, TrialRecord | None]]:
    return [
        (view.cost.text(level), best(view.records, view.search.criteria, {view.cost.name: level}))
        for level in view.scale.levels()
    ]


def _best(view: ReportData) -> list[tuple[str, TrialRecord | None]]:
    within = [record for record in view.complete if record.number in view.allowed]
    ranked = sorted(within, key=lambda r: (-view.quality(r), r.result[view.cost.name]))
    return [(f"{rank}.", record) for rank, record in enumerate(ranked[:BEST], start=1)]


def _axis(view: ReportData, records: list[TrialRecord]) -> Axis:
    ends = [r.result[end] for r in records for end in ("score_low", "score_high")]
    return Axis.around([view.metric.quality(end) for end in ends])


def _row(view: ReportData, name: str, record: TrialRecord | None, axis: Axis) -> list[object]:
    if record is None:
        nothing = tag("td", "nothing yet", colspan=6, class_="quiet")
        return [name, nothing]
    result = record.result
    configuration = [
        tag("span", f"#{record.number} ", class_="quiet"),
        words(configured(record.configuration)),
        tag("span", view.cost.text(result[view.cost.name]), class_="narrower quiet"),
    ]
    score = [
        tag("b", view.metric.text(result["score"])),
        tag("span", view.interval(result), class_="narrower quiet"),
    ]
    return [
        name,
        tag("td", *score, class_="number"),
        tag("td", view.interval(result), class_="quiet nowrap wider"),
        tag("td", _whisker(view, record, axis), class_="wider whisker"),
        tag("td", *configuration, class_="model"),
        tag("td", view.cost.text(result[view.cost.name]), class_="number nowrap wider"),
        tag("td", f"{result['compression_ratio']:.1f}×", class_="number wider"),
    ]


def _whisker(view: ReportData, record: TrialRecord, axis: Axis) -> Markup:
    low, middle, high = (
        axis.share(view.metric.quality(record.result[end]))
        for end in ("score_low", "score", "score_high")
    )
    return tag(
        "svg",
        line(low, high, 8, 8),
        dot(middle, 8, 4),
        height=16,
        class_="interval",
        aria_hidden="true",
    )
