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

    Sends first whatever MLflow missed while it was away.
    """
    from search.tracking import mirror_all
    from spaces.places import places
    from spaces.search_file import Storage

    where = places(Storage())
    mirror_all(study_url_or_default(url), where)
    if where.tracking_uri.startswith(("http://", "https://")):
        click.echo(f"MLflow UI: {where.tracking_uri}")
        return
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", where.tracking_uri,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--allowed-hosts", f"127.0.0.1:{port},localhost:{port}",
    ]  # fmt: skip
    if where.artifacts is not None:
        command += ["--default-artifact-root", where.artifacts.as_uri()]
    click.echo(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C stops it)")
    # Its job runner would start eight more processes.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, environment)
