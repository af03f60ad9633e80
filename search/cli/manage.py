"""Commands on whole searches: compare, rename and delete them."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.options import (
    as_json,
    make_console,
    open_searches,
    open_study,
    server,
    study_url,
)
from spaces.errors import UserError


@click.command()
@click.argument("names", metavar="NAME NAME...", nargs=-1, required=True)
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of comparison.html; default: among the reports of the first search.",
)
@study_url
@as_json
def compare(names: tuple[str, ...], folder: Path | None, url: str | None, as_json: bool) -> None:
    """Compare searches of one task and data: their frontiers in one figure.

    Hypervolumes are fractions of one box, with the highest cost of all of the searches as the
    reference point. Searches of different tasks, data, metrics or costs are refused.
    """
    from search.analysis.compared_searches import compare as compare_searches
    from search.cli.printing.comparison import print_comparison

    made = compare_searches([open_study(name, url) for name in dict.fromkeys(names)], folder)
    if as_json:
        click.echo(made.model_dump_json(indent=2))
        return
    print_comparison(made, make_console())


@click.command()
@click.argument("old")
@click.argument("new")
@study_url
@server
def rename(old: str, new: str, url: str | None, server: str | None) -> None:
    """Rename the search OLD to NEW, with its experiment in MLflow and its reports.

    A search that runs is refused. To resume it, its file or its program needs the new name too.
    """
    made = open_searches(url, server).rename(old, new)
    its = f"its file (--set name={new})" if made.has_file else "what runs it"
    click.echo(f"search {old!r} is now {new!r}; {its} needs the new name")
    for name in made.followed:
        click.echo(f"search {name!r} starts from {new!r} now; from_searches of its file has to too")


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@study_url
@server
def delete(name: str, yes: bool, url: str | None, server: str | None) -> None:
    """Delete the search NAME: its trials, its runs in MLflow, and what only it has in the store.

    Checkpoints and models that another search uses stay, and so do registered models. A search that
    runs is refused. MLflow can restore the runs until mlflow gc removes them.
    """
    searches = open_searches(url, server)
    if not yes:
        click.echo(str(searches.planned_deletion(name)))
        try:
            is_meant = click.confirm("Delete?")
        except click.Abort:
            is_meant = False
        if not is_meant:
            raise UserError("nothing was deleted; --yes deletes without asking")
    click.echo(f"deleted {searches.delete(name)}")
