"""Commands that begin with data: a search file for it, and what it holds."""

from __future__ import annotations

import json
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import click

from search.cli.options import as_json, make_console, overrides
from spaces.errors import UserError

TEMPLATES = {".py": "task.py.txt", ".yaml": "task.yaml.txt"}
"""Of a task of one's own and of its search, by the suffix of what is written."""


@click.command()
@click.argument("files", metavar="DATA...", nargs=-1, required=True)
@click.option(
    "--checkpoint",
    metavar="CHECKPOINT",
    help="What models start from: a folder of transformers, package:NAME, or owner/name (Hub).",
)
def init(files: tuple[str, ...], checkpoint: str | None) -> None:
    """Look at DATA and write a search file for it, with comments.

    DATA is a table (csv, tsv, jsonl, parquet), a text, a folder of images with a folder for each
    class, two files that match line by line, or a data set of the Hugging Face Hub (owner/name).
    Format, columns, classes and lengths are read from it, and the space, the budgets and the hours
    follow from them and from this machine. Other splits beside a file are found by their names.

    A name such as task.py writes a task of your own, and a search file beside it; both run as they
    are (docs/own-task.md).

    \b
      tlc init reviews.csv
      tlc init reviews.csv --checkpoint ./minilm
      tlc init train.en train.fr
      tlc init photos
      tlc init task.py
    """
    if len(files) == 1 and files[0].endswith(".py"):
        if checkpoint is not None:
            raise click.UsageError("--checkpoint: a task of your own builds its models itself")
        _write_task(Path(files[0]))
        return
    from search.cli.data.first_file import place_of, shown, write_search_file

    path = write_search_file(files, place_of(files), make_console(), checkpoint)
    click.echo(f"next: tlc run {shown(path)}")


@click.command()
@click.argument("files", metavar="FILE", nargs=-1, required=True)
@overrides
@as_json
def data(files: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Show the data of the search in FILE: splits, classes, examples as models read them, and what
    is skipped, cut or repeated. FILE may be data too, as of tlc init."""
    from dataclasses import asdict

    from search.api.planning import look_at
    from search.cli.data.first_file import search_like
    from search.cli.data.output import print_overview

    console = make_console(stderr=as_json)
    found = look_at(search_like(files, console), overrides)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    print_overview(found, console)


def _write_task(file: Path) -> None:
    name = file.stem
    if not name.isidentifier():
        raise UserError(f"DATA: {file} is no Python module; allowed are names such as task.py")
    written = {suffix: file.with_suffix(suffix) for suffix in TEMPLATES}
    for path in written.values():
        if path.exists() or path.is_symlink():
            raise UserError(f"DATA: {path} exists already; name another file, or remove it")
    if find_spec(name) is not None:
        raise UserError(
            f"DATA: a module named {name} is installed, and would be imported instead; name "
            "another file"
        )
    for suffix, template in TEMPLATES.items():
        text = (resources.files("search.cli") / "templates" / template).read_text(encoding="utf-8")
        try:
            written[suffix].write_text(text.replace("NAME", name), encoding="utf-8")
        except OSError as error:
            raise UserError(f"DATA: {written[suffix]} cannot be written: {error}") from error
    task, search = written.values()
    click.echo(f"{task}: a task; {search}: a search of it")
    there = "" if task.parent == Path() else f"cd {task.parent}; "
    click.echo(f"next: {there}tlc run {search.name}")
