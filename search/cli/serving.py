"""Commands that start a server."""

from __future__ import annotations

import os
import sys

import click

from search.cli.options import study_url, study_url_or_default


@click.command()
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@study_url
def ui(port: int, url: str | None) -> None:
    """Start the MLflow UI on this machine (loopback only), or name the server that is set.

    Sends first whatever MLflow missed while it was away, and prints the page of each search.
    """
    from search.links import LOOPBACK, server_of
    from search.study import names
    from search.tracking import mirror_all
    from search.tracking_server import command, environment, pages, refuse_busy
    from spaces.places import places
    from spaces.search_file import Storage

    where = places(Storage())
    is_remote = where.tracking_uri.startswith(("http://", "https://"))
    if not is_remote:
        refuse_busy(port)
    study = study_url_or_default(url)
    mirror_all(study, where)
    server = server_of(where.tracking_uri) if is_remote else f"http://{LOOPBACK}:{port}"
    click.echo(f"MLflow UI: {server}" + ("" if is_remote else "  (Ctrl-C stops it)"))
    for name, page in pages(names(study), where, server).items():
        click.echo(f"  {name}: {page}")
    if not is_remote:
        sys.stdout.flush()
        os.execve(sys.executable, command(where, port), environment())
