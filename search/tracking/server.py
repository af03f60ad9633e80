"""The local MLflow server that ``tlc ui`` starts, and the pages of the experiments."""

from __future__ import annotations

import os
import socket
import sys

from search.mlflow_links import LOOPBACK, experiment_page
from search.tracking.client import error_summary, mlflow_client
from spaces.errors import UserError
from spaces.file.storage import Locations


def check_port_free(port: int) -> None:
    """Check that the server can listen on a port.

    Raises:
        UserError: Another program uses it, or this user may not.
    """
    with socket.socket() as probe:
        # The port of a server that has just ended is in TIME_WAIT, and can be used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise UserError(
                f"--port: {port} is not allowed for this user; give one from 1024 on"
            ) from error
        except OSError as error:
            raise UserError(
                f"--port: {port} is in use by another program on this machine (another MLflow?); "
                "give another port, such as --port 5001"
            ) from error


def server_command(where: Locations, port: int) -> list[str]:
    """The command of a server of the local tracking database that serves this machine only."""
    hosts = [f"{LOOPBACK}:{port}", f"localhost:{port}"]
    words = [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", where.tracking_uri,
        # Artefacts are read from their folder, and nobody uploads any.
        "--no-serve-artifacts",
        "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        # A page of another site can send requests to loopback, also under a host name of its own
        # that resolves to it (DNS rebinding).
        "--allowed-hosts", ",".join(hosts),
        "--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts),
    ]  # fmt: skip
    if where.artifacts is not None:
        words += ["--default-artifact-root", where.artifacts.as_uri()]
    return words


def server_environment() -> dict[str, str]:
    """The server's environment: no job runner and no telemetry."""
    # The job runner would start eight more processes and run jobs that clients send.
    return {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def experiment_pages(names: list[str], where: Locations, server: str) -> dict[str, str]:
    """Addresses of the experiments of searches, by name, if MLflow has them.

    Raises:
        UserError: MLflow cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client(where)
    try:
        found = {name: client.get_experiment_by_name(name) for name in names}
    except MlflowException as error:
        raise UserError(f"MLflow at {server} cannot be reached: {error_summary(error)}") from error
    return {
        name: f"{server}/{experiment_page(experiment.experiment_id)}"
        for name, experiment in found.items()
        if experiment is not None
    }
