"""The command that writes the report of a search."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.options import open_study, study_url


@click.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of report.html; default: reports/NAME in TLC_HOME (or .tlc).",
)
@study_url
def report(name: str, folder: Path | None, url: str | None) -> None:
    """Write the report of the search NAME: one HTML page that needs no network.

    It shows the best model, the frontier, the effect of each dimension, how trials shared training,
    and the use of compute. The page is also logged to the run of the search in MLflow.
    """
    from search.analysis.report.report import write_report

    made = write_report(open_study(name, url), folder)
    click.echo(f"report: {made.path}")
    if not made.is_tracked:
        click.echo("not logged to MLflow: it is unreachable, or lacks the search (tlc ui sends it)")
