"""How the search got there: hypervolume over compute and over finished trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from search.analysis.report.axes import Axis, even_ticks, score_ticks, time_text, time_ticks
from search.analysis.report.compute import spent
from search.analysis.report.markup import tag
from search.analysis.report.plot import Tick, dot, plot, stairs, up
from search.analysis.report.report_data import ReportData, amount
from search.pareto import hypervolume_history, in_finish_order
from search.storage.trials import TrialRecord
from spaces.cost.units import duration

HEIGHT = 220


@dataclass(frozen=True)
class _History:
    """What was reached after each finished trial.

    Args:
        records: Finished trials, in the order in which they finished.
        values: What was reached after each.
        name: What it is.
        text: Writes a value.
        axis: The values' axis.
        ticks: Values that are written beside it.
    """

    records: list[TrialRecord]
    values: list[float]
    name: str
    text: Callable[[float], str]
    axis: Axis
    ticks: list[Tick]


def section(view: ReportData) -> Markup:
    """Two charts of one history."""
    if view.best is None:
        return tag("p", "Nothing within the constraints is finished yet.", class_="quiet")
    history = _best_so_far(view) if view.search.is_at_fixed_cost else _hypervolume(view)
    compute = list(accumulate(spent([r]) if r.is_complete else 0.0 for r in history.records))
    trials = [float(k) for k in range(1, len(history.records) + 1)]
    seconds = compute[-1] or 1.0
    by_time = [(value / seconds, time_text(value)) for value in time_ticks(seconds)]
    count = float(len(trials))
    by_count = [(value / count, amount(value)) for value in even_ticks(0.0, count)
                if value.is_integer()]  # fmt: skip
    return tag(
        "div",
        _chart(view, history, [c / seconds for c in compute], by_time,
               "compute: training, compression and measurement"),
        _chart(view, history, [t / count for t in trials], by_count, "finished trials"),
        class_="pair",
    )  # fmt: skip


def sentence(view: ReportData) -> str:
    """How soon the search had most of what it found; nothing where there is nothing to say."""
    if view.best is None or view.search.is_at_fixed_cost:
        return ""
    history = _hypervolume(view)
    if history.values[-1] <= 0.0:
        return ""
    index = next(k for k, v in enumerate(history.values) if v >= 0.95 * history.values[-1])
    before = [record for record in history.records[: index + 1] if record.is_complete]
    return (
        f"95\u202f% of it was reached after {index + 1:,} of {len(history.records):,} trials and "
        f"{duration(spent(before))} of compute."
    )


def _hypervolume(view: ReportData) -> _History:
    values = hypervolume_history(view.records, view.search.criteria, view.scale)
    axis = Axis(0.0, 1.08 * max(values) or 1.0)
    ticks = [(axis.share(v), f"{v:g}") for v in axis.ticks()]
    return _History(
        in_finish_order(view.records), values, "hypervolume", "{:.3f}".format, axis, ticks
    )


def _best_so_far(view: ReportData) -> _History:
    records = in_finish_order(view.records)
    shares = [view.quality(r) if r.number in view.allowed else -float("inf") for r in records]
    best = list(accumulate(shares, max))
    start = next(k for k, share in enumerate(best) if share > -float("inf"))
    axis = Axis.around(best[start:])
    ticks = [
        (axis.share(view.metric.quality(v)), f"{v:,g}") for v in score_ticks(view.metric, axis)
    ]

    def text(share: float) -> str:
        return view.metric.text(view.metric.value_at(share))

    # What was before the first feasible trial is not on the axis.
    return _History(
        records[start:], best[start:], f"best {view.score_name} so far", text, axis, ticks
    )


def _chart(
    view: ReportData, history: _History, x: Sequence[float], ticks: Sequence[Tick], label: str
) -> Markup:
    rises = [
        k
        for k, value in enumerate(history.values)
        if value > (history.values[k - 1] if k else -float("inf"))
    ]
    points = [(x[k], up(history.axis.share(history.values[k]), HEIGHT)) for k in rises]
    dots = [
        dot(
            across,
            down,
            3,
            f"{history.name} {history.text(history.values[k])}\n{view.hover(history.records[k])}"
            if history.records[k].is_complete
            else "",
            class_="dot",
            data_trial=history.records[k].number,
        )
        for k, (across, down) in zip(rises, points, strict=True)
    ]
    last = tag(
        "text", history.text(history.values[-1]), x="100%", y=points[-1][1] - 10, class_="end last"
    )
    chart = plot(
        [stairs(points, 1.0, class_="front"), tag("g", *dots, class_="rises"), last],
        height=HEIGHT,
        x=ticks,
        y=history.ticks,
        x_label=label,
        y_label=history.name,
        label=f"{history.name} over {label}, "
        f"from {history.text(history.values[0])} to {history.text(history.values[-1])}",
    )
    return tag("figure", chart)
