"""Commands that start a server: MLflow's UI, and the REST service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from search.cli.options import study_url, study_url_or_default
from search.cli.submit import launcher_at


@click.command()
@click.option("--port", default=5000, type=click.IntRange(1, 65535), help="Port.")
@study_url
def ui(port: int, url: str | None) -> None:
    """Start the MLflow UI on this machine (loopback only), or print the configured server.

    First sends what MLflow lacks, for example after an outage, and prints the page of each search.
    """
    from search.mlflow_links import LOOPBACK, server_url
    from search.storage.database import study_names
    from search.tracking.server import (
        check_port_free,
        experiment_pages,
        server_command,
        server_environment,
    )
    from search.tracking.tracker import sync_all
    from spaces.file.storage import Locations, Storage

    where = Locations.of(Storage())
    is_remote = where.tracking_uri.startswith(("http://", "https://"))
    if not is_remote:
        check_port_free(port)
    study = study_url_or_default(url)
    sync_all(study, where)
    server = server_url(where.tracking_uri) if is_remote else f"http://{LOOPBACK}:{port}"
    click.echo(f"MLflow UI: {server}" + ("" if is_remote else "  (Ctrl-C stops it)"))
    for name, page in experiment_pages(study_names(study), where, server).items():
        click.echo(f"  {name}: {page}")
    if not is_remote:
        sys.stdout.flush()
        os.execve(sys.executable, server_command(where, port), server_environment())


@click.command()
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port",
    default=8470,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 for any free port.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that holds the bearer token; or set TLC_TOKEN.",
)
@click.option(
    "--read-token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that holds a further token, which only reads; or set TLC_READ_TOKEN.",
)
@click.option(
    "--data-root",
    "data_roots",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that may hold the data of submitted searches. Repeatable.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="MODULE:CLASS",
    help="Task of a user that submitted searches may name: its code runs here. Repeatable.",
)
@click.option(
    "--address",
    metavar="URL",
    help="Dashboard of the Ray cluster that runs the searches; default: this machine.",
)
@click.option(
    "--requests-per-minute",
    default=6000,
    type=click.IntRange(min=1),
    help="Limit for one client address.",
)
@study_url
@click.option("--store", help="Folder or fsspec URL of the store of submitted searches.")
@click.option("--mlflow", metavar="URI", help="MLflow tracking URI of submitted searches.")
def serve(
    host: str,
    port: int,
    token_file: Path | None,
    read_token_file: Path | None,
    data_roots: tuple[Path, ...],
    tasks: tuple[str, ...],
    address: str | None,
    requests_per_minute: int,
    url: str | None,
    store: str | None,
    mlflow: str | None,
) -> None:
    """Serve the commands over HTTP, for tlc --server and other clients.

    The service has no state: several may serve one study. Listening beyond this machine requires a
    token (TLC_TOKEN or --token-file).
    """
    token = _token(token_file, "TLC_TOKEN")
    read_token = _token(read_token_file, "TLC_READ_TOKEN")

    from search.service.settings import Settings, check_tokens
    from search.storage.database import refuse_damaged

    check_tokens(host, token, read_token)
    from search.service.server import listen
    from spaces.file.storage import Storage

    study = study_url_or_default(url)
    # An unreachable database may come back while the service runs; a damaged one does not.
    refuse_damaged(study)
    settings = Settings(
        storage=Storage(study=url, store=store, mlflow=mlflow),
        launcher=launcher_at(address, study),
        token=token,
        read_token=read_token,
        data_roots=data_roots,
        tasks=tasks,
        requests_per_minute=requests_per_minute,
    )
    listen(settings, host, port)


def _token(file: Path | None, variable: str) -> str | None:
    """The token in a file, or in an environment variable; None where there is neither."""
    return file.read_text().strip() if file else os.environ.get(variable) or None
