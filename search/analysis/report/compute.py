"""Where the compute went: seconds by stage and by architecture, and what failed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from search.analysis.report.report_data import ReportData, Section, percentage
from search.plots.pages import Chart, Table
from search.plots.style import FRONTIER, SECOND, THIRD, TRIAL, empty_figure
from search.storage.trials import TrialRecord, gpu_hours
from spaces.cost.units import duration

STAGES = {"train": FRONTIER, "recovery": SECOND, "compress": THIRD, "measure": TRIAL}
"""Colour by stage."""
MOST_BARS = 16


def compute_section(data: ReportData) -> Section:
    """Bars by stage and by architecture, and failures by their state."""
    charts, tables = [], []
    if data.complete:
        ranked = _by_architecture(data.complete)
        charts.append(Chart(_figure(ranked), "seconds of each stage by architecture"))
        tables.append(_table(ranked))
    failed = [r for r in data.records if r.is_finished and not r.is_complete]
    if failed:
        tables.append(_failures(failed))
    return Section(
        name="compute",
        title="Where the compute went",
        intro="Seconds of the complete trials, by stage and by architecture"
        + (", times the GPUs that each occupied." if gpu_hours(data.records) else "."),
        charts=charts,
        tables=tables,
        notes=() if failed else ("No trial failed.",),
    )


def _seconds_by_stage(records: Iterable[TrialRecord]) -> dict[str, float]:
    """What complete trials themselves took, without the training that they reused; of trials with
    GPUs in GPU-seconds."""
    totals = dict.fromkeys(STAGES, 0.0)
    for record in records:
        gpus = record.occupied.gpus or 1.0
        seconds = {name: gpus * value for name, value in record.result["seconds"].items()}
        # Recovery is the last stage, so a trial that trained at all trained it; its seconds are
        # those of the whole stage, of which a resumed trial ran a part.
        trained = seconds["train"] if record.result["steps"]["trained"] else 0.0
        recovery = min(trained, seconds.get("recovery", 0.0))
        totals["train"] += seconds["train"] - recovery
        totals["recovery"] += recovery
        totals["compress"] += seconds["compress"]
        totals["measure"] += seconds["measure"]
    return totals


def seconds_spent(records: Iterable[TrialRecord]) -> float:
    """Seconds of compute of complete trials, of those with GPUs in GPU-seconds."""
    return sum(_seconds_by_stage(records).values())


def _by_architecture(records: Iterable[TrialRecord]) -> list[tuple[str, dict[str, float]]]:
    """Seconds by stage of each architecture, the most expensive first."""
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        groups[str(record.configuration.architecture)].append(record)
    totals = [(name, _seconds_by_stage(group)) for name, group in groups.items()]
    return sorted(totals, key=lambda item: -sum(item[1].values()))


def _figure(ranked: list[tuple[str, dict[str, float]]]) -> Any:
    totals = {stage: sum(seconds[stage] for _, seconds in ranked) for stage in STAGES}
    everything = sum(totals.values()) or 1.0
    shown = ranked[:MOST_BARS]
    figure = empty_figure(
        height=100 + 24 * len(shown),
        x={"title": "seconds"},
        y={"autorange": "reversed", "type": "category"},
        has_legend=True,
        barmode="stack",
    )
    for stage, colour in STAGES.items():
        if not totals[stage]:
            continue
        fraction = percentage(totals[stage] / everything)
        figure.add_bar(
            x=[seconds[stage] for _, seconds in shown],
            y=[name for name, _ in shown],
            orientation="h",
            name=f"{stage} {duration(totals[stage])} ({fraction})",
            marker={"color": colour},
            hovertext=[f"{name}: {stage} {duration(seconds[stage])}" for name, seconds in shown],
            hoverinfo="text",
        )
    return figure


def _table(ranked: list[tuple[str, dict[str, float]]]) -> Table:
    rows = [
        (name, *(duration(seconds[stage]) for stage in STAGES), duration(sum(seconds.values())))
        for name, seconds in ranked
    ]
    heads = ("architecture", *STAGES, "all")
    return Table("compute by architecture", heads, rows, numeric=(1, 2, 3, 4, 5), is_folded=True)


def _failures(failed: list[TrialRecord]) -> Table:
    last = {record.state: record for record in failed}
    rows = [
        (state, f"{count:,}", f"#{last[state].number}", _last_line(last[state].message))
        for state, count in Counter(record.state for record in failed).most_common()
    ]
    heads = ("failures", "trials", "last", "message")
    return Table("failures by state", heads, rows, numeric=(1,))


def _last_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[-1][:300] if lines else "–"
