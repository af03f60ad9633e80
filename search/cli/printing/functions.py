"""The text output of queries over a search with a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from search.cli.printing.tables import make_table
from search.formatting import gpu_hours_lines
from spaces.functions.points import value_text

if TYPE_CHECKING:
    from search.results.functions import (
        FunctionBest,
        FunctionPrediction,
        FunctionQueries,
        FunctionSummary,
        FunctionTrial,
    )


def function_queries(name: str, url: str) -> FunctionQueries | None:
    """Queries over a search with a function; None where there is none of this name."""
    from search.storage.function_study import FunctionStudy, has_function

    if not has_function(name, url):
        return None
    from search.results.functions import FunctionQueries

    return FunctionQueries(FunctionStudy.load(name, url))


def print_function_summaries(rows: Sequence[FunctionSummary], console: Console) -> None:
    """Print a table of searches."""
    table = make_table(
        "search", "state", "complete", "running", "failed", "frontier", "objectives", "best",
        left=["search", "state", "objectives"],
    )  # fmt: skip
    for row in rows:
        best = "" if row.best_score is None else f"{row.best_score:.4g}"
        table.add_row(
            row.name,
            row.state,
            f"{row.complete}/{row.trials}",
            str(row.running),
            str(row.failed),
            str(len(row.frontier)),
            ", ".join(f"{way} {name}" for name, way in row.objectives.items()),
            best,
        )
    console.print(table)


def print_function_search(
    search: FunctionSummary, frontier: Sequence[FunctionTrial], console: Console
) -> None:
    """Print one search."""
    print_function_summaries([search], console)
    for line in gpu_hours_lines(search.gpu_hours):
        console.print(line)
    if search.ended:
        console.print(search.ended)
    print_function_trials(frontier, console)


def print_function_trials(trials: Sequence[FunctionTrial], console: Console) -> None:
    """Print a table of trials: their values, and their metrics or why they failed."""
    metrics = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    table = make_table("trial", "values", *metrics, "seconds", "state", left=["values", "state"])
    for trial in trials:
        shown = [_number(trial.metrics.get(name)) for name in metrics]
        last_line = "".join(trial.message.strip().splitlines()[-1:])
        state = f"{trial.state}: {last_line}" if last_line else trial.state
        table.add_row(str(trial.trial), trial.text, *shown, _number(trial.seconds), state)
    console.print(table)


def print_function_trial(trial: FunctionTrial, console: Console) -> None:
    """Print one trial with everything that is known of it."""
    print_function_trials([trial], console)
    for stage, seconds in trial.stages.items():
        how = "stored before" if seconds is None else f"made in {seconds:.2f} s"
        console.print(f"stage {stage}: {how}")
    for line in (trial.folder, trial.traceback):
        if line:
            console.print(line, soft_wrap=True)


def print_function_best(name: str, found: FunctionBest, console: Console) -> None:
    """Print the best trial within limits, or the nearest."""
    if found.trial is None:
        console.print(f"search {name!r} has no complete trial yet")
        return
    if not found.is_within:
        missed = _factors(found.misses)
        console.print(f"no trial meets the limits; the nearest exceeds them: {missed}")
    print_function_trial(found.trial, console)


def print_function_prediction(found: FunctionPrediction, console: Console) -> None:
    """Print what is expected of a point."""
    values = ", ".join(f"{name} {value_text(value)}" for name, value in found.params.items())
    console.print(values)
    costs = "".join(f", {name} {value:.4g}" for name, value in found.costs.items())
    console.print(
        f"expected {found.metric} {found.score:.4g} ({found.score_low:.4g}–{found.score_high:.4g})"
        f"{costs}, {found.seconds:.3g} s"
    )
    tried = "not tried" if found.trial is None else f"tried in trial #{found.trial}"
    console.print(f"from {found.trials} complete trials; {tried}")


def _factors(misses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {factor:.2f} times the limit" for name, factor in misses.items())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
