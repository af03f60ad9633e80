"""What each dimension does: its importance, and the score of every trial by its value."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from search.analysis.report.axes import Axis, score_ticks
from search.analysis.report.frontier import thinned
from search.analysis.report.importance import Importance, importances
from search.analysis.report.markup import joined, percent, percentage, table, tag
from search.analysis.report.plot import dot, line
from search.analysis.report.report_data import ReportData, amount, value_of
from search.storage.trials import TrialRecord
from spaces.grid.grid import Dimension

MOST_ROWS = 12
ROW = 26
MOST_DOTS = 600
"""Trials beside the frontier that each strip shows."""
GOLDEN = 0.618034
"""Multiples of it, modulo 1, lie apart: trials of one value are spread by their number."""


def section(view: ReportData) -> Markup:
    """The table of importances, and a strip chart for each dimension."""
    found = importances(view)
    order = [each.dimension for each in found] or [
        d for d in view.space.dimensions if len(d.values) > 1
    ]
    strips = [_strip(view, dimension) for dimension in order]
    return joined([_importances(view, found), tag("div", *strips, class_="strips")])


def _importances(view: ReportData, found: list[Importance]) -> Markup:
    if not found:
        return tag(
            "p", "There are too few different trials to say how important each is.", class_="quiet"
        )
    name = view.score_name
    columns = {name: [each.score for each in found]}
    if not view.search.is_at_fixed_cost:
        columns[view.cost.noun] = [each.cost for each in found]
    heads = ["dimension", *(tag("th", each, scope="col", colspan=2) for each in columns)]
    rows: list[list[object]] = []
    for index, each in enumerate(found):
        cells = [_bar(shares[index], k) for k, shares in enumerate(columns.values())]
        rows.append([each.dimension.name.replace("_", " "), *_flat(cells)])
    rest = [_bar(max(0.0, 1.0 - sum(shares)), 2) for shares in columns.values()]
    rows.append([tag("th", "together, and noise", scope="row", class_="quiet"), *_flat(rest)])
    return tag("div", table(heads, rows, label="importance of each dimension"), class_="importance")


def _flat(cells: Sequence[tuple[Markup, Markup]]) -> list[Markup]:
    return [cell for pair in cells for cell in pair]


def _bar(share: float, column: int) -> tuple[Markup, Markup]:
    kind = ("score", "cost", "rest")[column]
    bar = tag("rect", width=percent(share), height=10, class_=kind)
    return (
        tag("td", percentage(share), class_="number"),
        tag("td", tag("svg", bar, height=10, class_="share", aria_hidden="true"), class_="share"),
    )


@dataclass(frozen=True)
class _Row:
    """Trials of one value, or of neighbouring values.

    Args:
        label: The values.
        records: Complete trials.
    """

    label: str
    records: list[TrialRecord]


def _rows(view: ReportData, dimension: Dimension) -> list[_Row]:
    by_value: dict[Any, list[TrialRecord]] = {value: [] for value in dimension.values}
    for record in view.complete:
        by_value.setdefault(value_of(record.configuration, dimension.name), []).append(record)
    filled = [(value, records) for value, records in by_value.items() if records]
    size = -(-len(filled) // MOST_ROWS)
    return [_merged(filled[k : k + size]) for k in range(0, len(filled), size)]


def _merged(group: Sequence[tuple[Any, list[TrialRecord]]]) -> _Row:
    first, last = _text(group[0][0]), _text(group[-1][0])
    label = first if first == last else f"{first}–{last}"
    return _Row(label, [record for _, records in group for record in records])


def _text(value: Any) -> str:
    return amount(value) if isinstance(value, int | float) else str(value)


def _strip(view: ReportData, dimension: Dimension) -> Markup:
    rows = _rows(view, dimension)
    axis = Axis.around([view.shown(r.result["score"]) for r in view.complete])
    drawn = {record.number for record in [*thinned(view, MOST_DOTS), *view.members]}
    height = ROW * len(rows)
    members = {record.number for record in view.members}
    marks: list[Markup] = []
    for index, row in enumerate(rows):
        marks += [_one(view, axis, row, ROW * index, drawn, members)]
    medians = [
        (axis.share(_median(view, row)), ROW * index + ROW / 2) for index, row in enumerate(rows)
    ]
    through = [
        tag("line", x1=percent(a[0]), x2=percent(b[0]), y1=a[1], y2=b[1])
        for a, b in pairwise(medians)
    ]
    ticks = [
        tag(
            "g",
            line(share, share, 0, height),
            tag("text", f"{value:,g}", x=percent(share), y=height + 16, class_="middle"),
            class_="tick grid",
        )
        for value in _few(score_ticks(view.metric, axis))
        if 0.0 <= (share := axis.share(view.metric.quality(value))) <= 1.0
    ]
    title = dimension.name.replace("_", " ")
    unit = f" in {view.search.space.budget.unit}" if dimension.name == "budget" else ""
    chart = tag(
        "svg",
        *ticks,
        tag("g", *through, class_="through"),
        *marks,
        class_="strip",
        height=height,
        role="group",
        aria_label=f"{view.score_name} by {title}; the median of each value is written beside",
    )
    return tag("figure", tag("figcaption", tag("b", title), unit), chart)


def _one(
    view: ReportData, axis: Axis, row: _Row, top: float, drawn: set[int], members: set[int]
) -> Markup:
    middle = top + ROW / 2
    dots = [
        dot(
            axis.share(view.shown(record.result["score"])),
            top + 5 + (ROW - 10) * (record.number * GOLDEN % 1.0),
            2.5,
            class_="dot front" if record.number in members else "dot",
            data_trial=record.number,
            data_model=view.model(record),
        )
        for record in row.records
        if record.number in drawn
    ]
    median = _median(view, row)
    share = axis.share(median)
    return joined(
        [
            tag("text", row.label, x=-10, y=middle + 4, class_="end label"),
            tag("g", *dots, class_="others"),
            line(share, share, top + 3, top + ROW - 3, class_="median"),
            tag(
                "text", view.metric.text(view.metric.value_at(median)), x="100%", dx=48,
                y=middle + 4, class_="end value",
            ),
        ]
    )  # fmt: skip


def _median(view: ReportData, row: _Row) -> float:
    return statistics.median(view.shown(record.result["score"]) for record in row.records)


def _few(ticks: Sequence[float]) -> list[float]:
    """Every second tick, where a narrow chart has no room for all."""
    return list(ticks) if len(ticks) <= 4 else list(ticks)[:: -(-len(ticks) // 4)]
