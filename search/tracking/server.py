"""The MLflow server of this machine: how ``tlc ui`` starts it, and the pages that it has."""

from __future__ import annotations

import os
import socket
import sys

from search.mlflow_links import LOOPBACK, experiment_page
from search.tracking.client import error_summary, mlflow_client
from spaces.errors import UserError
from spaces.file.storage import Locations


def check_port_free(port: int) -> None:
    """Refuse a port that cannot be listened at.

    Raises:
        UserError: Another program has it, or this user may not.
    """
    with socket.socket() as probe:
        # A server that has just ended leaves its port waiting, which is no reason.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise UserError(
                f"--port: {port} is not allowed for this user; give one from 1024 on"
            ) from error
        except OSError as error:
            raise UserError(
                f"--port: {port} is in use by another program on this machine (an MLflow that "
                "runs already?); give another, such as --port 5001"
            ) from error


def server_command(where: Locations, port: int) -> list[str]:
    """The server over the local tracking database, for this machine alone."""
    hosts = [f"{LOOPBACK}:{port}", f"localhost:{port}"]
    words = [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", where.tracking_uri,
        # Artefacts are read from their folder: nothing is to be uploaded.
        "--no-serve-artifacts",
        "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        # Pages of other sites can send requests to loopback, under a name of their own that leads
        # there.
        "--allowed-hosts", ",".join(hosts),
        "--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts),
    ]  # fmt: skip
    if where.artifacts is not None:
        words += ["--default-artifact-root", where.artifacts.as_uri()]
    return words


def server_environment() -> dict[str, str]:
    """What the server inherits: without its job runner, and without reports to its makers."""
    # The job runner would start eight more processes, and run what it is sent.
    return {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def experiment_pages(names: list[str], where: Locations, server: str) -> dict[str, str]:
    """Addresses of the experiments of searches, for those that MLflow has.

    Raises:
        UserError: MLflow cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client(where.tracking_uri)
    try:
        found = {name: client.get_experiment_by_name(name) for name in names}
    except MlflowException as error:
        raise UserError(f"MLflow at {server} cannot be reached: {error_summary(error)}") from error
    return {
        name: f"{server}/{experiment_page(experiment.experiment_id)}"
        for name, experiment in found.items()
        if experiment is not None
    }
