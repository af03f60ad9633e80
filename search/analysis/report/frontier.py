"""Score against cost: every trial, the models before compression, and the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from search.analysis.report.axes import Axis, score_ticks
from search.analysis.report.labels import GAP, Point, placed
from search.analysis.report.markup import joined, percent, tag
from search.analysis.report.plot import at, dot, line, number, plot, rectangle, stairs, up
from search.analysis.report.report_data import ReportData, amount
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS

HEIGHT = 400
MOST_DOTS = 1200
"""Dominated trials that are drawn; with more, the page would grow without showing more."""
LABELLED = 640
"""Width of the plane in pixels from which labels are shown."""


def section(view: ReportData) -> Markup:
    """The chart with its legend."""
    chart = _Chart.of(view)
    return tag("figure", _legend(view, chart), chart.drawn(), tag("figcaption", _caption(view)))


def thinned(view: ReportData, most: int = MOST_DOTS) -> list[TrialRecord]:
    """Trials that are drawn: the frontier, and so many of the others, evenly over the search."""
    members = {record.number for record in view.members}
    others = [record for record in view.complete if record.number not in members]
    if len(others) > most:
        others = [others[k * len(others) // most] for k in range(most)]
    return others


@dataclass(frozen=True)
class _Chart:
    """What is drawn, and where.

    Args:
        view: The search.
        x: Costs.
        y: Quality shares.
        dense: A trial of each trained model, where its cost before compression is known.
    """

    view: ReportData
    x: Axis
    y: Axis
    dense: list[TrialRecord]

    @classmethod
    def of(cls, view: ReportData) -> _Chart:
        # The latency of the dense model is not measured.
        trained = {r.result["checkpoint"]: r for r in view.complete}
        dense = list(trained.values()) if view.cost.name == "size_mb" else []
        costs = [r.result[view.cost.name] for r in view.complete] + [_dense_mb(r) for r in dense]
        costs += _limit(view)
        scores = [r.result["score"] for r in view.complete]
        scores += [r.result["dense_score"] for r in dense]
        for record in view.members:
            scores += [record.result[end] for end in ("score_low", "score_high")]
        shares = [view.shown(score) for score in scores]
        return cls(view, Axis.around(costs, is_log=True), Axis.around(shares), dense)

    def drawn(self) -> Markup:
        view = self.view
        metric = view.metric
        ticks = [(self.y.share(metric.quality(v)), f"{v:,g}") for v in score_ticks(metric, self.y)]
        return plot(
            [self._steps(), self._limits(), self._dense(), self._others(), *self._members()],
            height=HEIGHT,
            x=[(self.x.share(value), number(value)) for value in self.x.ticks()],
            y=ticks,
            x_label=view.cost.axis,
            y_label=f"{view.score_name} on validation",
            label=f"{view.score_name} against {view.cost.noun} of {len(view.complete)} trials; "
            f"the {len(view.members)} on the frontier can be focused",
        )

    def _across(self, record: TrialRecord) -> float:
        return self.x.share(record.result[self.view.cost.name])

    def _down(self, score: float) -> float:
        return up(self.y.share(self.view.shown(score)), HEIGHT)

    def _steps(self) -> Markup:
        """The frontier's steps, and the area that it dominates."""
        view = self.view
        if not view.members or view.search.is_at_fixed_cost:
            return Markup("")
        corners = [(self._across(r), self._down(r.result["score"])) for r in view.members]
        end = min([1.0, *(self.x.share(limit) for limit in _limit(view))])
        # Slices that lie on one another, at whole pixels: beside one another they would show seams.
        floors = [HEIGHT, *(round(y) for _, y in corners)]
        area = [
            rectangle(x, end, top, bottom - top)
            for (x, _), top, bottom in zip(corners, floors[1:], floors, strict=False)
        ]
        return joined([tag("g", *area, class_="area"), stairs(corners, end, class_="front")])

    def _limits(self) -> Markup:
        return joined(
            tag(
                "g",
                line(self.x.share(limit), self.x.share(limit), -6, HEIGHT),
                tag(
                    "text", f"limit {self.view.cost.text(limit)}",
                    x=percent(self.x.share(limit)), y=-10, class_="end",
                ),
                class_="limit",
            )
            for limit in _limit(self.view)
        )  # fmt: skip

    def _dense(self) -> Markup:
        view = self.view
        dots = [
            dot(
                self.x.share(_dense_mb(record)),
                self._down(record.result["dense_score"]),
                3.5,
                _dense_hover(view, record),
                class_="dot",
                data_model=view.model(record),
            )
            for record in self.dense
        ]
        return tag("g", *dots, class_="dense")

    def _others(self) -> Markup:
        view = self.view
        dots = [
            dot(
                self._across(record),
                self._down(record.result["score"]),
                3.5,
                view.hover(record),
                class_="dot" if record.number in view.allowed else "dot broken",
                data_trial=record.number,
                data_model=view.model(record),
            )
            for record in thinned(view)
        ]
        return tag("g", *dots, class_="others")

    def _members(self) -> list[Markup]:
        whiskers = [
            line(
                self._across(r),
                self._across(r),
                self._down(r.result["score_low"]),
                self._down(r.result["score_high"]),
            )
            for r in self.view.members
        ]
        dots = [self._member(record) for record in self.view.members]
        return [
            tag("g", *whiskers, class_="whiskers"),
            tag("g", *self._labels(), class_="labels", aria_hidden="true"),
            tag("g", *dots, class_="members"),
        ]

    def _member(self, record: TrialRecord) -> Markup:
        text = self.view.hover(record)
        return dot(
            self._across(record),
            self._down(record.result["score"]),
            5,
            text,
            class_="dot",
            data_trial=record.number,
            data_model=self.view.model(record),
            tabindex=0,
            role="img",
            aria_label=text.replace("\n", ", "),
        )

    def _labels(self) -> list[Markup]:
        ends = ("score_low", "score_high")
        points = [
            Point(
                self._across(record) * LABELLED,
                self._down(record.result["score"]),
                min(self._down(record.result[end]) for end in ends),
                _short(record),
            )
            for record in self.view.members
        ]
        return [
            at(
                points[index].x / LABELLED,
                tag("text", points[index].text, x=-GAP, y=points[index].y - rise, class_="end"),
            )
            for index, rise in placed(points).items()
        ]


def _short(record: TrialRecord) -> str:
    return f"{record.configuration.architecture} {record.configuration.compression}"


def _dense_mb(record: TrialRecord) -> float:
    return float(record.result["dense_size_bytes"]) / 1e6


def _dense_hover(view: ReportData, record: TrialRecord) -> str:
    configuration = record.configuration
    return (
        f"{configuration.architecture} budget {amount(configuration.budget)}, dense fp32\n"
        f"{view.score_name} {view.metric.text(record.result['dense_score'])}\n"
        f"{_dense_mb(record):.3f} MB"
    )


def _limit(view: ReportData) -> list[float]:
    limit = view.search.criteria.limit
    return [] if limit is None else [limit]


def _legend(view: ReportData, chart: _Chart) -> Markup:
    front = "the best" if view.search.is_at_fixed_cost else "frontier, with 95 % intervals"
    broken = sum(record.number not in view.allowed for record in view.complete)
    entries: Sequence[tuple[str, str, object]] = [
        ("members", front, view.members),
        ("others", "other trials", len(view.complete) - len(view.members) - broken),
        ("broken", "breaks a constraint", broken),
        ("dense", "the same models before compression", chart.dense),
    ]
    return tag(
        "ul",
        *(
            tag("li", tag("span", class_=f"key {kind}"), name)
            for kind, name, shown in entries
            if shown
        ),
        class_="legend",
    )


def _caption(view: ReportData) -> str:
    parts = ["Up is better." if view.metric.is_maximised else "Up is better: the axis is reversed."]
    parts.append("Point at a trial to see its configuration and its siblings of one training.")
    elsewhere = [
        f"{COSTS[cost].noun} at most {COSTS[cost].text(limit)}"
        for cost, limit in view.search.constraints.limits.items()
        if cost != view.cost.name
    ]
    if elsewhere:
        parts.append(f"Also asked for: {', '.join(elsewhere)}.")
    others = len(view.complete) - len(view.members)
    if others > MOST_DOTS:
        parts.append(f"{MOST_DOTS:,} of {others:,} other trials are drawn, evenly over the search.")
    return " ".join(parts)
