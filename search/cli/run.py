"""Commands that run a search, confirm what it found, plan it, and print the schema of its file."""

from __future__ import annotations

import json
from typing import Any

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


@click.command()
@click.argument("file")
@overrides
@click.option("--address", metavar="ADDRESS", help=f"{NODE_ADDRESS}; default: start Ray here.")
def run(file: str, overrides: tuple[str, ...], address: str | None) -> int:
    """Run the search in FILE, a path or the name of a ready-made search.

    The same command resumes a search that was stopped or killed: finished trials are kept, and
    training continues from the last checkpoint. Ctrl-C stops the search.

    \b
      tlc run default
      tlc run search.yaml --set trials=50 --set constraints.max_size_mb=2
    """
    from search.cli.output import print_outcome
    from spaces.loading import load

    search = load(file, [*overrides, *([f"address={address}"] if address else [])])
    terminal = make_console()
    terminal.print(f"search {search.name}: {search.trials} trials, sampler {search.sampler}")

    from search.cli.progress import Progress
    from search.execution.run import run as run_search

    outcome = run_search(search, Progress(terminal))
    print_outcome(outcome, terminal)
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if any(record.is_complete for record in outcome.study.records()) else 1


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
    from search.cli.output import print_confirmed
    from search.cli.progress import Progress
    from search.execution.run import confirm as confirm_search

    study, terminal = open_study(name, url), make_console()
    if not open_queries(url).best(name, limits).is_within:
        click.echo(f"search {name!r} has no complete trial within the limits", err=True)
        return NOTHING_FOUND
    at = study_url_or_default(url)
    outcome = confirm_search(study, at, Progress(terminal), seeds=seeds, limits=limits)
    print_confirmed(outcome, terminal)
    return INTERRUPTED if outcome.interrupted else 0


@click.command()
@click.argument("file")
@overrides
@as_json
def plan(file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show sizes, FLOPs and training steps of the search in FILE, without training."""
    from dataclasses import asdict

    from objectives.data.batch_lengths import batch_lengths
    from objectives.data.prepare import find_prepared
    from search.cli.output import print_plan
    from spaces.file.storage import Locations
    from spaces.grid.plan import make_plan
    from spaces.grid.search_space import SearchSpace
    from spaces.loading import load, with_data

    search, tokenizers = load(file, overrides), dict[str, Any]({"": None})
    folder = Locations.of(search.storage).data
    if search.model is not None:
        from objectives.models.checkpoint.resolve import with_checkpoints

        search, tokenizers = with_checkpoints(search, folder)
    elif search.data.missing_sizes():
        from objectives.data.defaults import with_default_sizes

        search = with_data(search, with_default_sizes(search.data, search.task, folder))
    prepared = {
        name: found
        for name, each in tokenizers.items()
        if (found := find_prepared(search.alone(name).data, search.task, folder, each)) is not None
    }
    examples = next((each.labelled_examples for each in prepared.values()), None)
    lengths = {
        name: batch_lengths(each, search.task.name, search.training.batch_size)
        for name, each in prepared.items()
    }
    space = SearchSpace(search, lengths=lengths.get)
    made = make_plan(space, search.trials, seeds=search.seeds, labelled_examples=examples)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    console = make_console()
    print_plan(made, search.name, console)
    for each in prepared.values():
        for warning in (*each.warnings(), each.shortage()):
            if warning is not None:
                console.print(warning, style="yellow")


@click.command()
def schema() -> None:
    """Print the JSON schema of search files, for editors."""
    from spaces.loading import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
