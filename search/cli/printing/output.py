"""The text output of the commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from objectives.data.prepared_data import warnings_of
from search.cli.printing.equal_bytes import print_equal_bytes
from search.cli.printing.tables import (
    DENSE_NOTE,
    UNTESTED,
    dominated_lines,
    frontier_table,
    make_table,
    reference_text,
    references_table,
    seeds_note,
    trial_table,
    trials_table,
)
from search.equal_bytes import equal_bytes
from search.formatting import NOISY_LATENCY, cost_summary, gpu_hours_lines
from search.hypervolume import Scale, hypervolume_of
from search.pareto import frontier
from search.results.comparison import compared_frontier, frontier_members
from search.results.schemas import (
    Best,
    Event,
    Frontier,
    Prediction,
    Search,
    Summary,
    Trial,
    TrialPage,
)
from search.results.snapshot import failed
from search.results.training_reuse import TrainingReuse
from search.seeds import Repeats
from search.storage.budget_facts import CHECKPOINTS
from search.storage.trials import gpu_hours
from spaces.cost.inference_cost import COSTS
from spaces.cost.metric import text
from spaces.cost.units import duration, quantity

if TYPE_CHECKING:
    # At run time it would import Ray and torch, which queries do not need.
    from search.execution.run import Outcome


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print the result of a run: the frontier, the shared training and the next command."""
    study = outcome.study
    records, repeats = study.records_and_repeats()
    members = frontier(records, study.search.criteria)
    console.print(f"\n{outcome.ended}", style="bold")
    if not members:
        console.print("no complete trial meets the constraints")
        return
    metric, costs = study.search.metric, " and ".join(c.name for c in study.search.criteria.axes)
    console.print(f"\nfrontier: {metric.name} on validation against {costs}\n")
    known, tests, references = Repeats(repeats), study.tests(), study.references()
    rows = frontier_members(members, known, tests, metric)
    print_frontier(compared_frontier(study.space, records, rows, references), console)
    compared = equal_bytes(study.space, records, references)
    print_equal_bytes(study.space, compared, known, tests, console)
    scale = Scale.of(study.space)
    volume = hypervolume_of(members, study.search.criteria, scale)
    scores = " and ".join(
        f"from guessing, {each.text(each.guessing)}, to {each.text(each.perfect)}"
        for each in (scale.metric, *scale.further_metrics)
    )
    ranges = " and ".join(
        f"from {each.cost.text(each.lowest)} to {each.cost.text(each.highest)}"
        for each in scale.cost_ranges
    )
    console.print(
        f"\nhypervolume {volume:.3f} (fraction of the box {scores} and {ranges}, logarithmic)"
    )
    _print_reuse(TrainingReuse.of([*records, *repeats]), console)
    for line in gpu_hours_lines(gpu_hours([*records, *repeats]), study.search.gpu_hours):
        console.print(line)
    name = study.search.name
    middle = members[len(members) // 2].result
    if outcome.figures is not None:
        plot = os.path.relpath(outcome.figures / "frontier.html")
        console.print(f"plot: {plot} (and .png)", soft_wrap=True)
    tracked = "" if outcome.everything_tracked else " (incomplete; tlc ui sends the rest)"
    console.print(f"MLflow: tlc ui{tracked}")
    limit = float(f"{middle[study.search.cost.name] * 1.05:.2g}")
    if not repeats:
        console.print(f"one seed of training: tlc confirm {name} trains the frontier with more")
    console.print(f"next: tlc best {name} {study.search.cost.option} {limit:g}")


def print_confirmed(outcome: Outcome, console: Console) -> None:
    """Print the trials that have repeats with further seeds, and what these scored."""
    study = outcome.study
    records, repeats = study.records_and_repeats()
    known = Repeats(repeats)
    repeated = [record for record in records if record.is_complete and known.of(record)]
    repeated.sort(key=lambda record: float(record.result[study.search.cost.name]))
    console.print()
    if repeated:
        metric = study.search.metric
        rows = frontier_members(repeated, known, study.tests(), metric)
        print_frontier(compared_frontier(study.space, records, rows, study.references()), console)
    for record in failed(repeats):
        last_line = "".join(record.message.strip().splitlines()[-1:])
        console.print(f"#{record.number} {record.state}: {last_line}", style="red")
    name = study.search.name
    if outcome.interrupted:
        console.print(f"interrupted; tlc confirm {name} continues")
    console.print(f"next: tlc best {name}", soft_wrap=True)


def _print_reuse(saved: TrainingReuse, console: Console) -> None:
    if saved.steps_total:
        fraction = saved.steps_reused / saved.steps_total
        console.print(
            f"training shared between trials: {saved.steps_reused:,} of "
            f"{saved.steps_total:,} steps ({fraction:.0%}), {duration(saved.seconds_saved)} of "
            f"training saved, {duration(saved.seconds_trained)} spent"
        )


def print_summaries(rows: Sequence[Summary], console: Console) -> None:
    """Print a table of searches."""
    if not rows:
        console.print("no searches yet; tlc run default starts one")
        return
    table = make_table(
        "search", "state", "complete", "running", "failed", "frontier", "hypervolume", "best",
        left=["search", "state"],
    )  # fmt: skip
    for row in rows:
        score = row.best_score
        table.add_row(
            row.name,
            row.state,
            f"{row.complete}/{row.trials}",
            str(row.running),
            str(row.failed),
            str(len(row.frontier)),
            f"{row.hypervolume:.3f}",
            "" if score is None else f"{row.metric} {text(row.metric, score)}",
        )
    console.print(table)


def print_search(search: Search, frontier: Frontier | None, console: Console) -> None:
    """Print one search; its frontier is None where it has none yet."""
    print_summaries([search], console)
    if search.ended:
        console.print(search.ended)
    if frontier is not None:
        console.print()
        print_frontier(frontier, console)
        console.print()
    _print_reuse(search.shared, console)
    for line in gpu_hours_lines(search.gpu_hours, search.search.get("gpu_hours")):
        console.print(line)
    for facts in search.data.get(CHECKPOINTS, {"": search.data}).values():
        for warning in warnings_of(facts):
            console.print(warning, style="yellow")
    for failure in search.failures:
        last_line = "".join(failure.message.strip().splitlines()[-1:])
        console.print(f"#{failure.trial} {failure.state}: {last_line}", style="red", markup=False)


def print_trials(page: TrialPage, console: Console) -> None:
    """Print a page of trials."""
    console.print(trials_table(page.trials))
    _print_noise(any(trial.latency_noisy for trial in page.trials), console)
    last = page.offset + len(page.trials)
    if last < page.total or page.offset:
        console.print(f"\n{page.offset + 1} to {last} of {page.total}")


def _print_noise(noisy: bool, console: Console) -> None:
    if noisy:
        console.print(NOISY_LATENCY, style="dim")


def print_frontier(found: Frontier, console: Console) -> None:
    """Print the frontier, which must have a member, and what it is compared with."""
    members = found.members
    console.print(frontier_table(members))
    if note := seeds_note(members):
        console.print(note, style="dim", soft_wrap=True)
    _print_noise(any(member.latency_noisy for member in members), console)
    console.print(DENSE_NOTE, style="dim", soft_wrap=True)
    if untested := [f"#{each.trial}" for each in members if each.test_score is None]:
        console.print(f"{', '.join(untested)}: {UNTESTED}", style="dim", soft_wrap=True)
    if found.references:
        console.print()
        console.print(references_table(found.references))
    for line in dominated_lines(members):
        console.print(line, style="bold yellow", soft_wrap=True)
    if found.advice is not None:
        console.print(found.advice, style="bold yellow", soft_wrap=True)
    for edge in found.edges:
        console.print(edge.text, style="yellow", soft_wrap=True)


def print_event(event: Event, console: Console) -> None:
    """Print an event in one line."""
    volume = "" if event.hypervolume is None else f"  hypervolume {event.hypervolume:.3f}"
    if event.kind == "state":
        reason = f": {event.text}" if event.text else volume
        console.print(f"{event.search} is {event.state}{reason}", style="bold")
        return
    score = "" if event.score is None else f"  score {event.score:.4g}{volume}"
    console.print(f"#{event.trial} {event.text}  {event.state}{score}")


def print_best(name: str, best: Best, console: Console) -> None:
    """Print the best model within limits, or the nearest."""
    trial = best.trial
    if trial is None:
        console.print(f"search {name!r} has no complete trial yet")
        return
    result = trial.result
    if not best.is_within:
        missed = ", ".join(
            f"{cost} {COSTS[cost].text(result[cost])} ({factor:.2f} times the limit)"
            for cost, factor in best.misses.items()
        )
        console.print(f"no model meets the limits; the nearest exceeds: {missed}", style="bold red")
    console.print(
        f"#{trial.trial} {trial.text}: {result['metric']} "
        f"{text(result['metric'], result['score'])}, {cost_summary(result, best.cost)}",
        style="bold",
    )
    console.print(trial_table(trial))
    console.print(f"location            {best.location}", soft_wrap=True)
    _print_comparison(best, trial, console)


def _print_comparison(best: Best, trial: Trial, console: Console) -> None:
    """Print the references, the best dense model and the edges of the space beside a model."""
    limit = best.limits.get("size_mb")
    if best.dense is None:
        size = trial.result["size_mb"] if limit is None else limit
        dense = f"no dense model fits in {size:.3g} MB"
    else:
        score = text(trial.result["metric"], best.dense.score)
        dense = (
            f"{score}, {best.dense.size_mb:.3f} MB: {best.dense.text} (before the compression of "
            f"#{best.dense.trial})"
        )
    console.print(f"best dense model    {dense}", soft_wrap=True)
    if best.references:
        console.print()
        console.print(references_table(best.references))
    if best.dominated_by is not None:
        within = " within the limits" if best.limits else ""
        line = f"{reference_text(best.dominated_by)}: no model here is better{within}"
        console.print(line, style="bold yellow", soft_wrap=True)
        console.print(best.advice, style="bold yellow", soft_wrap=True)
    for edge in best.edges:
        console.print(edge.text, style="yellow", soft_wrap=True)


def print_prediction(name: str, prediction: Prediction, console: Console) -> None:
    """Print the prediction for a configuration."""
    metric = prediction.metric
    interval = f"{text(metric, prediction.score_low)} to {text(metric, prediction.score_high)}"
    console.print(prediction.text, style="bold")
    feasible = (
        ""
        if prediction.is_feasible
        else "; the search does not try it: it violates a constraint, or trains too few steps"
    )
    tried = "no trial has evaluated it"
    if prediction.trial is not None:
        tried = f"trial #{prediction.trial} has evaluated it: tlc show {name} {prediction.trial}"
    console.print(
        f"expected {metric} {text(metric, prediction.score)} (95 % interval {interval}), from "
        f"{prediction.trials} trials\n"
        f"{prediction.size_mb:.3f} MB, {quantity(prediction.flops)}FLOPs{feasible}\n"
        f"a trial would take {duration(prediction.seconds)} now; {tried}"
    )
