"""Where the compute went: seconds by stage and by architecture, and what failed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from markupsafe import Markup

from search.analysis.report.markup import joined, percent, percentage, table, tag
from search.analysis.report.report_data import ReportData
from search.storage.trials import TrialRecord
from spaces.cost.units import duration

STAGES = ("train", "recovery", "compress", "measure")
MOST_ROWS = 16


def section(view: ReportData) -> Markup:
    """Bars by stage and by architecture, and failures by their state."""
    parts = []
    if view.complete:
        parts = [_legend(view), _bars(view)]
    return joined([*parts, _failures(view)])


def seconds_of(record: TrialRecord) -> dict[str, float]:
    """What a trial itself took, by stage; what it had from others is not in it."""
    seconds = record.result["seconds"]
    # Recovery comes last, so whoever trained at all trained it; its seconds are those of the whole
    # stage, of which a resumed trial ran a part.
    trained = seconds["train"] if record.result["steps"]["trained"] else 0.0
    recovery = min(trained, seconds.get("recovery", 0.0))
    return {
        "train": seconds["train"] - recovery,
        "recovery": recovery,
        "compress": seconds["compress"],
        "measure": seconds["measure"],
    }


def spent(records: Iterable[TrialRecord]) -> float:
    """Seconds of compute of complete trials."""
    return sum(sum(seconds_of(record).values()) for record in records)


def _totals(records: Iterable[TrialRecord]) -> dict[str, float]:
    totals = dict.fromkeys(STAGES, 0.0)
    for record in records:
        for stage, seconds in seconds_of(record).items():
            totals[stage] += seconds
    return totals


def _legend(view: ReportData) -> Markup:
    totals = _totals(view.complete)
    everything = sum(totals.values()) or 1.0
    entries = [
        tag(
            "li",
            tag("span", class_=f"key {stage}"),
            f"{stage} ",
            tag("b", duration(seconds)),
            f" {percentage(seconds / everything)}",
        )
        for stage, seconds in totals.items()
        if seconds
    ]
    return tag("ul", *entries, class_="legend")


def _bars(view: ReportData) -> Markup:
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in view.complete:
        groups[str(record.configuration.architecture)].append(record)
    totals = {name: _totals(records) for name, records in groups.items()}
    ranked = sorted(totals.items(), key=lambda item: -sum(item[1].values()))
    shown, rest = ranked[:MOST_ROWS], ranked[MOST_ROWS:]
    longest = max(sum(seconds.values()) for _, seconds in shown) or 1.0
    everything = _totals(view.complete)
    rows = [_bar("all", everything, sum(everything.values()) or 1.0, "bar tall")]
    rows += [_bar(name, seconds, longest, "bar") for name, seconds in shown]
    if rest:
        # No bar: beside one of many together the others would be too short to compare.
        seconds = sum(sum(each.values()) for _, each in rest)
        total = tag("span", duration(seconds), class_="number")
        name = tag("span", f"{len(rest)} others", class_="name")
        rows.append(tag("div", name, tag("span"), total, class_="row quiet"))
    return tag("div", *rows, class_="bars")


def _bar(name: str, seconds: dict[str, float], longest: float, kind: str) -> Markup:
    parts, x = [], 0.0
    for stage in STAGES:
        width = seconds[stage] / longest
        title = tag("title", f"{stage} {duration(seconds[stage])}")
        if width:
            parts.append(
                tag("rect", title, x=percent(x), width=percent(width), height=20, class_=stage)
            )
        x += width
    told = ", ".join(f"{stage} {duration(seconds[stage])}" for stage in STAGES)
    bar = tag("svg", *parts, class_=kind, height=20, role="img", aria_label=f"{name}: {told}")
    total = tag("span", duration(sum(seconds.values())), class_="number")
    return tag("div", tag("span", name, class_="name"), bar, total, class_="row")


def _failures(view: ReportData) -> Markup:
    failed = [r for r in view.records if r.is_finished and not r.is_complete]
    if not failed:
        return tag("p", "No trial failed.", class_="quiet")
    last = {record.state: record for record in failed}
    rows = [
        (
            tag("th", tag("code", state), scope="row"),
            tag("td", f"{count:,}", class_="number"),
            f"#{last[state].number}",
            _last_line(last[state].message),
        )
        for state, count in Counter(record.state for record in failed).most_common()
    ]
    heads = ("state", tag("th", "trials", scope="col", class_="number"), "last", "what it said")
    return joined([tag("h3", "Failures"), table(heads, rows, label="failures by state")])


def _last_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[-1][:300] if lines else "–"
