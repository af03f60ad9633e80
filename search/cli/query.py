"""Commands that query a study, directly or through a service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from search.cli.options import (
    NOTHING_FOUND,
    Source,
    as_json,
    limited,
    make_console,
    open_study,
    queried,
    study_url,
    study_url_or_default,
)
from spaces.cost.inference_cost import COSTS

if TYPE_CHECKING:
    from rich.console import Console

STATES = "running, complete, failed, or the state of a failure"
ORDERS = ("number", "-number", "score", "-score", *COSTS)


@click.command("list")
@queried
def list_searches(source: Source) -> None:
    """List all searches and their progress."""
    from search.cli.printing.functions import print_function_summaries
    from search.cli.printing.output import print_summaries
    from search.results.functions import function_summaries

    rows = source.queries.searches()
    functions = [] if source.server else function_summaries(study_url_or_default(source.url))

    def print_text(console: Console) -> None:
        if rows or not functions:
            print_summaries(rows, console)
        if functions:
            print_function_summaries(functions, console)

    source.show([*rows, *functions], print_text)


@click.command()
@click.argument("name")
@click.argument("trial", required=False, type=click.IntRange(min=0))
@click.option(
    "--errors",
    is_flag=True,
    help="What the model of TRIAL gets wrong on the validation split, or does worst.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="Errors to list.")
@queried
def show(name: str, trial: int | None, source: Source, *, errors: bool, limit: int) -> None:
    """Show the search NAME, or one TRIAL with the conditions of each number.

    With --errors: how often the model takes each class for each other one, and the inputs that it
    answers wrongly, with its confidence; of a model that writes texts, its worst ones, and of a
    language model the passages of the highest loss.
    """
    if errors:
        _show_errors(name, trial, source, limit)
        return
    from search.cli.printing.functions import print_function_search, print_function_trial
    from search.cli.printing.output import print_search
    from search.cli.printing.tables import trial_table

    if (function := source.function(name)) is not None:
        if trial is not None:
            found = function.trial(trial)
            source.show(found, lambda console: print_function_trial(found, console))
        else:
            summary, members = function.summary(), function.frontier()
            source.show(summary, lambda console: print_function_search(summary, members, console))
        return

    if trial is not None:
        details = source.queries.trial(name, trial)
        source.show(details, lambda console: console.print(trial_table(details, details.traceback)))
        return
    queries = source.queries
    search = queries.search(name)
    # A search that was submitted and has not run has no study to ask.
    pareto = queries.frontier(name) if search.frontier and not source.as_json else None
    source.show(search, lambda console: print_search(search, pareto, console))


def _show_errors(name: str, trial: int | None, source: Source, limit: int) -> None:
    if trial is None:
        raise click.UsageError(f"--errors needs a trial: tlc show {name} TRIAL --errors")
    if source.server is not None:
        raise click.UsageError("--errors runs the model here; the models of a service are there")
    from dataclasses import asdict

    from search.analysis.mistakes import mistakes_of
    from search.cli.printing.mistakes import print_errors

    found = mistakes_of(open_study(name, source.url), trial, limit)
    if source.as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        print_errors(found, make_console())


@click.command()
@click.argument("name")
@click.option("--state", help=f"Only trials in this state: {STATES}.")
@click.option("--on-frontier", is_flag=True, help="Only the trials on the frontier.")
@click.option(
    "--repeats", is_flag=True, help="The repeats with further seeds, in place of the trials."
)
@limited
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="number",
    help="score: best first; - reverses the order.",
)
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Trials to skip.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="Largest page.")
@queried
def trials(name: str, source: Source, **query: Any) -> None:
    """List the trials of the search NAME, in pages."""
    from search.cli.printing.functions import print_function_trials
    from search.cli.printing.output import print_trials

    if (function := source.function(name)) is not None:
        if query["repeats"] or query["limits"] or query["order"] != "number":
            raise click.UsageError(
                f"the trials of {name}, whose objective is a function, have no repeats, limits or "
                "order; tlc best takes limits"
            )
        chosen = [
            trial
            for trial in function.trials()
            if query["state"] in (None, trial.state)
            and (trial.on_frontier or not query["on_frontier"])
        ]
        shown = chosen[query["offset"] :][: query["limit"]]
        source.show(shown, lambda console: print_function_trials(shown, console))
        return
    page = source.trials(name, **query)
    source.show(page, lambda console: print_trials(page, console))


@click.command()
@click.argument("name")
@queried
def frontier(name: str, source: Source) -> int:
    """Show the frontier of the search NAME: trials that no other trial beats on score and cost."""
    from search.cli.printing.functions import print_function_trials
    from search.cli.printing.output import print_frontier

    if (function := source.function(name)) is not None:
        members = function.frontier()
        source.show(members, lambda console: print_function_trials(members, console))
        return 0 if members else NOTHING_FOUND
    found = source.queries.frontier(name)
    if found.members or source.as_json:
        source.show(found, lambda console: print_frontier(found, console))
    else:
        click.echo(f"search {name!r} has no feasible complete trial yet", err=True)
    return 0 if found.members else NOTHING_FOUND


@click.command()
@click.argument("name")
@limited
@queried
def best(name: str, limits: dict[str, float], source: Source) -> int:
    """Show the best model of the search NAME within limits.

    Scores are on the validation split, on which the model was selected; those of further seeds of
    training had no part in that (tlc confirm). If no model meets the limits, the command shows the
    nearest one and by how much it exceeds them, and exits with code 3.
    """
    from search.cli.printing.functions import print_function_best
    from search.cli.printing.output import print_best

    if (function := source.function(name)) is not None:
        nearest = function.best(limits)
        source.show(nearest, lambda console: print_function_best(name, nearest, console))
        return 0 if nearest.is_within else NOTHING_FOUND
    found = source.best(name, limits)
    source.show(found, lambda console: print_best(name, found, console))
    return 0 if found.is_within else NOTHING_FOUND


@click.command()
@click.argument("name")
@queried
def levels(name: str, source: Source) -> None:
    """Show the best score of the search NAME at each of five fixed inference costs."""
    from search.cli.printing.tables import levels_table

    rows = source.queries.levels(name)
    source.show(rows, lambda console: console.print(levels_table(rows)))


@click.command("what-if")
@click.argument("name")
@click.argument("values", nargs=-1, metavar="DIMENSION=VALUE...")
@queried
def what_if(name: str, values: tuple[str, ...], source: Source) -> None:
    """Predict the score of a configuration without training it.

    The prediction comes from the surrogate of the frontier sampler, fitted to the trials of NAME.

    \b
      tlc what-if default depth=2 width=128 budget=800 quantisation=rtn-4 sparsity=0
    """
    from search.cli.printing.functions import print_function_prediction
    from search.cli.printing.output import print_prediction
    from spaces.loading import parse_values

    if (function := source.function(name)) is not None:
        expected = function.predict(parse_values(values))
        source.show(expected, lambda console: print_function_prediction(expected, console))
        return
    prediction = source.queries.what_if(name, parse_values(values))
    source.show(prediction, lambda console: print_prediction(name, prediction, console))


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--complete", is_flag=True, help="First run the trials that the claims need.")
@study_url
@as_json
def claims(names: tuple[str, ...], complete: bool, url: str | None, as_json: bool) -> None:
    """Test the claims of Train Large, Then Compress on the trials of the search NAME.

    Several searches that differ only in their seed are pooled. A claim is supported, contradicted
    or not decided, and needs three seeds of training for a decision: with fewer, its effect is
    described. The report is an HTML and a Markdown page with plots.
    """
    from search.analysis.claims.report import print_claims, write_claims

    studies = [open_study(name, url) for name in dict.fromkeys(names)]
    if complete:
        from search.analysis.claims.missing_trials import run_missing_trials
        from search.cli.printing.progress import Progress, interruptible

        progress = Progress(make_console(stderr=as_json))
        study_at = study_url_or_default(url)
        with interruptible():
            studies = [run_missing_trials(study, study_at, progress) for study in studies]
    made = write_claims(studies)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    print_claims(made, make_console())
