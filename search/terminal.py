"""What the commands print for a person."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.table import Table

from search.frontier import Scale, frontier, hypervolume_of
from search.queries import Answer, shared
from search.runner import Outcome
from search.study import Study
from search.tables import (
    OPTIONS,
    duration,
    frontier_table,
    plan_table,
    quantity,
    short_cost,
    trial_table,
    with_unit,
)
from spaces.places import places
from spaces.plan import Plan
from spaces.search_file import SearchFile


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The end of a search: the frontier, what sharing saved, and what to type next."""
    study = outcome.study
    records = study.records()
    members = frontier(records, study.search)
    console.print(f"\n{outcome.ended}", style="bold")
    if not members:
        console.print("no trial is complete and within the constraints")
        return
    metric = study.search.metric
    console.print(f"\nfrontier: {metric.name} on validation against {study.search.cost}\n")
    console.print(frontier_table(members, study.tests(), metric))
    scale = Scale.of(study.space)
    volume = hypervolume_of(members, study.search, scale)
    console.print(
        f"\nhypervolume {volume:.3f} (share of the box from guessing, "
        f"{metric.text(metric.guessing)}, to {metric.text(metric.perfect)} and from "
        f"{with_unit(scale.cost, scale.lowest)} to "
        f"{with_unit(scale.cost, scale.highest)}, logarithmic)",
        highlight=False,
    )
    _print_shared(shared(records), console)
    where = places(study.search.storage)
    name = study.search.name
    middle = members[len(members) // 2].result
    plot = os.path.relpath(where.reports / name / "frontier.html")
    console.print(f"plot: {plot} (and .png)", soft_wrap=True)
    tracked = "" if outcome.everything_tracked else " (some is still to be sent: tlc ui sends it)"
    console.print(f"MLflow: tlc ui{tracked}")
    limit = float(f"{middle[study.search.cost] * 1.05:.2g}")
    console.print(f"next: tlc best {name} {OPTIONS[study.search.cost]} {limit:g}", highlight=False)


def _print_shared(saved: dict[str, float], console: Console) -> None:
    if saved["steps_total"]:
        share = saved["steps_reused"] / saved["steps_total"]
        console.print(
            f"training shared between trials: {saved['steps_reused']:,} of "
            f"{saved['steps_total']:,} steps ({share:.0%}), {duration(saved['seconds_saved'])} of "
            f"training saved, {duration(saved['seconds_trained'])} spent",
            highlight=False,
        )


def print_plan(plan: Plan, search: SearchFile, console: Console) -> None:
    """What a search would cost."""
    exact = "" if plan.looked_at == plan.configurations else f" (of {plan.looked_at:,} looked at)"
    console.print(
        f"search {search.name}: {plan.configurations:,} configurations, {plan.feasible:,} may meet "
        f"the constraints{exact}",
        highlight=False,
    )
    console.print(plan_table(plan))
    console.print(
        f"\n{plan.trials} trials: at most {quantity(plan.training_flops)}FLOPs of training, "
        f"{quantity(plan.disk_bytes)}B on disk",
        highlight=False,
    )


def print_summaries(rows: list[dict[str, Any]], console: Console) -> None:
    """All searches."""
    if not rows:
        console.print("no searches yet; tlc run default starts one")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("search", "complete", "running", "failed", "frontier", "hypervolume", "best"):
        table.add_column(column, justify="left" if column == "search" else "right")
    for row in rows:
        best = row["best_score"]
        table.add_row(
            row["name"],
            f"{row['complete']}/{row['trials']}",
            str(row["running"]),
            str(row["failed"]),
            str(len(row["frontier"])),
            f"{row['hypervolume']:.3f}",
            "" if best is None else f"{row['metric']} {best:.4g}",
        )
    console.print(table)


def print_search(study: Study, description: dict[str, Any], console: Console) -> None:
    """One search."""
    print_summaries([description], console)
    members = frontier(study.records(), study.search)
    console.print(frontier_table(members, study.tests(), study.search.metric))
    _print_shared(description["shared"], console)
    for failure in description["failures"]:
        last_line = failure["message"].strip().splitlines()[-1:]
        console.print(f"#{failure['trial']} {failure['state']}: {''.join(last_line)}", style="red")


def print_trial(study: Study, number: int, console: Console) -> None:
    """One trial."""
    record = study.record(number)
    console.print(trial_table(record, study.tests().get(number, {}), study.search), highlight=False)


def print_best(study: Study, answer: Answer, console: Console) -> None:
    """The best model within limits, or the nearest."""
    if answer.record is None:
        console.print(f"search {study.search.name!r} has no complete trial yet")
        return
    if not answer.is_within:
        missed = ", ".join(
            f"{cost} {with_unit(cost, answer.record.result[cost])} ({factor:.2f} times the limit)"
            for cost, factor in answer.misses.items()
        )
        console.print(f"nothing meets the limits; the nearest misses: {missed}", style="bold red")
    result = answer.record.result
    console.print(
        f"#{answer.record.number} {answer.record.configuration}: {study.search.metric.name} "
        f"{study.search.metric.text(result['score'])}, {short_cost(result, study.search.cost)}",
        style="bold",
        highlight=False,
    )
    console.print(trial_table(answer.record, answer.test, study.search), highlight=False)
    console.print(f"location            {answer.location}", soft_wrap=True, highlight=False)
