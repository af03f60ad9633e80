"""Commands that run a search, plan it, and print the schema of search files."""

from __future__ import annotations

import json

import click

from search.cli.options import INTERRUPTED, NODE_ADDRESS, as_json, make_console, overrides


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

    search = load(file, overrides)
    folder = Locations.of(search.storage).data
    if search.data.missing_sizes():
        from objectives.data.defaults import with_default_sizes

        search = with_data(search, with_default_sizes(search.data, search.task, folder))
    prepared = find_prepared(search.data, search.task, folder)
    examples = None if prepared is None else prepared.labelled_examples
    lengths = (
        None
        if prepared is None
        else batch_lengths(prepared, search.task.name, search.training.batch_size)
    )
    space = SearchSpace(search, lengths=lambda: lengths)
    made = make_plan(space, search.trials, labelled_examples=examples)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    console = make_console()
    print_plan(made, search.name, console)
    for warning in prepared.warnings() if prepared else []:
        console.print(warning, style="yellow")


@click.command()
def schema() -> None:
    """Print the JSON schema of search files, for editors."""
    from spaces.loading import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
