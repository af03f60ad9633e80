"""Commands that write pages."""

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

    The best model, the frontier, what each dimension does, how training was shared, and where the
    compute went. The page is logged to the search's run in MLflow too.
    """
    from search.analysis.report.report import write_report

    made = write_report(open_study(name, url), folder)
    click.echo(f"report: {made.path}")
    if not made.is_tracked:
        click.echo("MLflow does not have it: it is away, or lacks the search (tlc ui sends it)")
