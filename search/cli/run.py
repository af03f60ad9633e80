"""Commands that run a search, confirm what it found, plan it, print the schema of its file, and
write a first task."""

from __future__ import annotations

import json
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

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
from spaces.errors import UserError

TEMPLATES = {".py": "task.py.txt", ".yaml": "task.yaml.txt"}
"""Of a task of one's own and of its search, by the suffix of what is written."""


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
    from search.cli.printing.output import print_outcome
    from spaces.loading import read_search

    search = read_search(file, overrides, address=address)
    terminal = make_console()
    terminal.print(f"search {search.name}: {search.trials} trials, sampler {search.sampler}")

    from search.cli.printing.progress import Progress, interruptible
    from search.execution.run import run as run_search

    with interruptible():
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
@click.argument("file")
@overrides
@as_json
def plan(file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show sizes, FLOPs and training steps of the search in FILE, without training."""
    from dataclasses import asdict

    from search.api.planning import plan_search
    from search.cli.printing.output import print_plan

    planned = plan_search(file, overrides)
    if as_json:
        click.echo(json.dumps(asdict(planned.plan), indent=2))
        return
    console = make_console()
    print_plan(planned.plan, planned.name, console)
    for warning in planned.warnings:
        console.print(warning, style="yellow")


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


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def init(file: Path) -> None:
    """Write a task of your own into FILE, such as task.py, and a search file beside it.

    Both run as they are; docs/own-task.md says what a task can have.

    \b
      tlc init task.py
      tlc run task.yaml
    """
    name = file.stem
    if file.suffix != ".py" or not name.isidentifier():
        raise UserError(f"FILE: {file} is no Python module; allowed are names such as task.py")
    written = {suffix: file.with_suffix(suffix) for suffix in TEMPLATES}
    for path in written.values():
        if path.exists() or path.is_symlink():
            raise UserError(f"FILE: {path} exists already; name another file, or remove it")
    if find_spec(name) is not None:
        raise UserError(
            f"FILE: a module named {name} is installed, and would be imported instead; name "
            "another file"
        )
    for suffix, template in TEMPLATES.items():
        text = (resources.files("search.cli") / "templates" / template).read_text(encoding="utf-8")
        try:
            written[suffix].write_text(text.replace("NAME", name), encoding="utf-8")
        except OSError as error:
            raise UserError(f"FILE: {written[suffix]} cannot be written: {error}") from error
    task, search = written.values()
    click.echo(f"{task}: a task; {search}: a search of it")
    there = "" if task.parent == Path() else f"cd {task.parent}; "
    click.echo(f"next: {there}tlc run {search.name}")
