"""MLflow's server behind a proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.ports import free_port
from tests.faults.processes import kill_tree
from tests.faults.proxy import Proxy
from tests.faults.system import SystemUnderTest
from tests.waiting import is_served, wait_for


@contextmanager
def tracking_server(system: SystemUnderTest) -> Iterator[Proxy]:
    """Start MLflow on the system's database, and connect the search through a proxy."""
    with proxied_server(system.home / "mlflow.db", system.folder, dict(os.environ)) as proxy:
        system.document["storage"] = {"mlflow": f"http://127.0.0.1:{proxy.port}"}
        yield proxy


@contextmanager
def proxied_server(database: Path, folder: Path, environment: dict[str, str]) -> Iterator[Proxy]:
    """Start MLflow's server behind a proxy.

    Args:
        database: SQLite file of its runs.
        folder: Folder of its artefacts and of ``mlflow.txt``, its output.
        environment: Environment of its process.
    """
    port = free_port()
    proxy = Proxy(port)
    with (folder / "mlflow.txt").open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server",
                "--backend-store-uri", f"sqlite:///{database}",
                "--artifacts-destination", str(folder / "artifacts"),
                "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                "--allowed-hosts", f"127.0.0.1:{port},127.0.0.1:{proxy.port}",
            ],
            env={**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}/health"
        wait_for("MLflow's server", lambda: is_served(address), 120)
        yield proxy
    finally:
        proxy.close()
        kill_tree(server.pid)
        server.wait()
