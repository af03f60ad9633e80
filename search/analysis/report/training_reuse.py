"""How training was reused: the stable path of each architecture, and its budgets."""

from __future__ import annotations

from typing import Any

from search.analysis.report.report_data import ReportData, Section, percentage
from search.plots.pages import Chart, Table
from search.plots.style import FRONTIER, LIMIT, TRIAL, empty_figure, log_axis
from search.plots.trial_points import amount
from search.results.training_reuse import TrainingReuse
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.budget import TrainingSteps
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, Settings
from spaces.cost.units import duration

MOST_ROWS = 24
LINEAR = 10.0
"""Ratio of the longest training to the shortest up to which the axis is linear."""
DECAY = 0.32
"""How far below the path of an architecture its trained models are drawn, in rows."""

StablePath = tuple[Architecture, Settings]
Budgets = list[tuple[float, TrainingSteps, list[TrialRecord]]]
"""Budgets of a stable path, ascending, each with its steps and the trials that compressed it."""


def training_section(data: ReportData) -> Section:
    """What was saved, and the path of each architecture."""
    paths = sorted(_paths(data).items(), key=lambda path: -len(_records(path[1])))
    totals = TrainingReuse.of(data.complete)
    trained = totals.steps_total - totals.steps_reused
    reused = percentage(totals.steps_reused / totals.steps_total)
    saved = (
        f"{trained:,} steps were trained in {duration(totals.seconds_trained)}; "
        f"{totals.steps_reused:,} steps ({reused}) were reused, which saved "
        f"{duration(totals.seconds_saved)}."
    )
    left = len(paths) - MOST_ROWS
    more = f" The {MOST_ROWS} architectures with the most trials are drawn." if left > 0 else ""
    return Section(
        name="training",
        title="How training was reused",
        intro=f"{saved} Each architecture has one path at constant learning rate, and each budget "
        "leaves it with a short decay.",
        charts=(Chart(_figure(data, paths[:MOST_ROWS]), "training path of each architecture"),),
        caption="A dot is a trained model, the larger the more compressions of it were tried; "
        f"coloured where one of them is on the frontier.{more}",
        tables=(_table(paths),),
    )


def _paths(data: ReportData) -> dict[StablePath, Budgets]:
    found: dict[StablePath, dict[Configuration, list[TrialRecord]]] = {}
    for record in data.complete:
        trained = record.configuration.with_compression(Compression())
        models = found.setdefault(trained.stable_path, {})
        models.setdefault(trained, []).append(record)
    return {
        path: [
            (trained.budget, data.space.steps_of(trained), records)
            for trained, records in sorted(models.items(), key=lambda each: each[0].budget)
        ]
        for path, models in found.items()
    }


def _text(path: StablePath) -> str:
    architecture, settings = path
    return " ".join([str(architecture), *(f"{name} {value:g}" for name, value in settings)])


def _records(budgets: Budgets) -> list[TrialRecord]:
    return [record for _, _, records in budgets for record in records]


def _figure(data: ReportData, paths: list[tuple[StablePath, Budgets]]) -> Any:
    members = {record.number for record in data.members}
    ends = [float(steps.pretraining) for _, budgets in paths for _, steps, _ in budgets]
    is_linear = max(ends) <= LINEAR * min(ends)
    origin = 0.0 if is_linear else min(ends) / 2.0
    lines: list[tuple[float | None, float | None]] = []
    dots = []
    for row, (path, budgets) in enumerate(paths):
        lines += [(origin, row), (max(s.stable for _, s, _ in budgets), row), (None, None)]
        for budget, steps, records in budgets:
            lines += [(steps.stable, row), (steps.pretraining, row + DECAY), (None, None)]
            dots.append((steps.pretraining, row + DECAY, _text(path), budget, records))
    figure = empty_figure(
        height=80 + 36 * len(paths),
        x={"title": "steps", **({"rangemode": "tozero"} if is_linear else log_axis(ends))},
        y={
            "tickvals": list(range(len(paths))),
            "ticktext": [_text(path) for path, _ in paths],
            "range": [len(paths) - 0.3, -0.5],
            "zeroline": False,
            "showgrid": False,
        },
    )
    figure.add_scatter(
        x=[x for x, _ in lines], y=[y for _, y in lines], mode="lines",
        line={"color": LIMIT, "width": 1.5}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[x for x, *_ in dots],
        y=[y for _, y, *_ in dots],
        mode="markers",
        marker={
            "size": [6 + min(len(records), 12) for *_, records in dots],
            "opacity": 1,
            "line": {"width": 0},
            "color": [
                FRONTIER if members & {r.number for r in records} else TRIAL for *_, records in dots
            ],
        },
        hovertext=[
            f"{path} budget {amount(budget)}<br>{len(records)} compressed models: "
            + ", ".join(f"#{record.number}" for record in records[:12])
            for _, _, path, budget, records in dots
        ],
        hoverinfo="text",
    )
    return figure


def _table(paths: list[tuple[StablePath, Budgets]]) -> Table:
    rows = []
    for path, budgets in paths:
        records = _records(budgets)
        totals = TrainingReuse.of(records)
        trained = totals.steps_total - totals.steps_reused
        names = ", ".join(dict.fromkeys(amount(budget) for budget, _, _ in budgets))
        counts = (f"{count:,}" for count in (len(records), trained, totals.steps_reused))
        rows.append((_text(path), names, *counts))
    heads = ("architecture", "budgets", "trials", "steps trained", "steps reused")
    return Table("training by architecture", heads, rows, numeric=(2, 3, 4), is_folded=True)
