"""Commands that run a search, confirm what it found, plan it, and print the schema of its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from search.cli.options import (
    INTERRUPTED,
    NODE_ADDRESS,
    NOTHING_FOUND,
    as_json,
    limited,
    make_console,
    open_queries,
    open_study,
    overrides,
    study_url,
    study_url_or_default,
)

if TYPE_CHECKING:
    from rich.console import Console

    from spaces.loading import SearchLike


@click.command()
@click.argument("files", metavar="FILE", nargs=-1, required=True)
@overrides
@click.option("--address", metavar="ADDRESS", help=f"{NODE_ADDRESS}; default: start Ray here.")
def run(files: tuple[str, ...], overrides: tuple[str, ...], address: str | None) -> int:
    """Run the search in FILE, a path or the name of a ready-made search.

    FILE may be data too (a table, a text, a folder of images, two aligned files, a data set of the
    Hub): then a search file is written for it, as tlc init does, planned and run.

    The same command resumes a search that was stopped or killed: finished trials are kept, and
    training continues from the last checkpoint. Ctrl-C stops the search.

    \b
      tlc run default
      tlc run reviews.csv
      tlc run search.yaml --set trials=50 --set constraints.max_size_mb=2
    """
    from search.cli.printing.output import print_outcome
    from spaces.loading import read_search

    terminal = make_console()
    file, said = _file_of(files, overrides, terminal)
    search = read_search(file, overrides, address=address)
    terminal.print(f"search {search.name}: {search.trials} trials, sampler {search.sampler}")

    from search.cli.printing.progress import Progress, interruptible
    from search.execution.run import run as run_search

    with interruptible():
        outcome = run_search(search, Progress(terminal, said))
    print_outcome(outcome, terminal)
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if any(record.is_complete for record in outcome.study.records()) else 1


def _file_of(
    files: tuple[str, ...], overrides: tuple[str, ...], terminal: Console
) -> tuple[str, tuple[str, ...]]:
    """The search file, and what was said of its data; for data it is written, with its plan on the
    terminal."""
    from search.cli.data.first_file import names_data, search_file

    file = search_file(files, terminal)
    if len(files) == 1 and not names_data(files[0]):
        return file, ()
    from search.api.planning import look_at, plan_search
    from search.cli.data.output import print_overview
    from search.cli.printing.plan import print_plan

    terminal.print(f"search file: {file}", soft_wrap=True)
    found = look_at(file, overrides)
    print_overview(found, terminal)
    # Its warnings are those that the data just gave.
    planned = plan_search(file, overrides)
    print_plan(planned.plan, planned.name, terminal, planned.trials_at_a_time)
    return file, found.notices


@click.command()
@click.argument("name")
@click.option(
    "--seeds",
    type=click.IntRange(2, 100),
    default=3,
    help="Seeds that each finalist has in the end, its own included.",
)
@limited
@study_url
def confirm(name: str, seeds: int, limits: dict[str, float], url: str | None) -> int:
    """Train the finalists of the search NAME again with further seeds of training.

    A search selects on one seed, and what it selects was often lucky on it. This command trains the
    models of the frontier (with limits, only the best one within them) with seeds that had no part
    in the selection, and scores them on the validation and on the test split. tlc best, frontier,
    show and report then give their mean and standard deviation.

    Stored training is reused, and the same command resumes after an interruption. A search that
    runs is refused. If no model meets the limits, the command exits with code 3. With seeds: 3 in
    its file, a search does the same at its end.

    \b
      tlc confirm default                        the frontier, with 2 further seeds
      tlc confirm default --max-size-mb 0.5      only the best model up to 0.5 MB
      tlc confirm default --seeds 5              five seeds each: only what is missing runs
    """
    from search.cli.printing.output import print_confirmed
    from search.cli.printing.progress import Progress, interruptible
    from search.execution.run import confirm as confirm_search

    study, terminal = open_study(name, url), make_console()
    if not open_queries(url).best(name, limits).is_within:
        click.echo(f"search {name!r} has no complete trial within the limits", err=True)
        return NOTHING_FOUND
    at = study_url_or_default(url)
    with interruptible():
        outcome = confirm_search(study, at, Progress(terminal), seeds=seeds, limits=limits)
    print_confirmed(outcome, terminal)
    return INTERRUPTED if outcome.interrupted else 0


@click.command()
@click.argument("files", metavar="FILE", nargs=-1, required=True)
@overrides
@click.option(
    "--no-data",
    is_flag=True,
    help="Open no data and train nothing: sizes, FLOPs and steps by arithmetic alone.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Also measure latency, memory, … of untrained models here, as the run would at its start.",
)
@as_json
def plan(
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    *,
    no_data: bool,
    measure: bool,
    as_json: bool,
) -> None:
    """Show what the search in FILE reads, tries and costs, and how long it takes here.

    The data is prepared, as the run then finds it: splits, classes, examples as models read them,
    what is skipped, cut or repeated (tlc data), and the scores of the references. Sizes, FLOPs and
    steps follow by arithmetic; the time, from some steps of the smallest and of the largest model.

    FILE may be data too, as of tlc run. What --measure measures, the run finds in the store; of a
    large space it is some dozen models, from which the others are predicted.
    """
    from search.cli.data.first_file import search_like

    console = make_console(stderr=as_json)
    search = search_like(files, console)
    show = _show_arithmetic if no_data else _show_forecast
    found = show(search, overrides, console, as_json=as_json)
    if measure:
        # It imports torch.
        from search.api.measured_plan import measured_plan

        measured = measured_plan(search, overrides)
        found["measured"] = [each.to_dict() for each in measured]
        if not as_json:
            for each in measured:
                console.print(str(each))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _show_forecast(
    search: SearchLike, overrides: tuple[str, ...], console: Console, *, as_json: bool
) -> dict[str, Any]:
    """Print the plan with its data, unless it is printed as JSON; returns its values."""
    # It imports torch.
    from search.api.forecast import forecast
    from search.cli.data.output import print_forecast

    found = forecast(search, overrides, lambda line: console.print(line, style="dim"))
    if not as_json:
        print_forecast(found, console)
    values = asdict(found)
    return {**values.pop("plan"), **values}


def _show_arithmetic(
    search: SearchLike, overrides: tuple[str, ...], console: Console, *, as_json: bool
) -> dict[str, Any]:
    """The same of the plan alone."""
    from search.api.planning import plan_search
    from search.cli.printing.plan import print_plan

    planned = plan_search(search, overrides)
    if not as_json:
        print_plan(planned.plan, planned.name, console, planned.trials_at_a_time)
        for warning in planned.warnings:
            console.print(warning, style="yellow", soft_wrap=True)
    return asdict(planned.plan)


@click.command()
@click.option("--task", metavar="MODULE:CLASS", help="With the fields of a task of your own.")
def schema(task: str | None) -> None:
    """Print the JSON schema of search files, for editors."""
    if task is None:
        from spaces.loading import json_schema

        found = json_schema()
    else:
        from objectives.tasks.own.schema import schema_with_task

        found = schema_with_task(task)
    click.echo(json.dumps(found, indent=2))
