"""An MLflow server for a search under test, behind a proxy."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.arena import Arena
from tests.faults.ports import free_port
from tests.faults.processes import kill_tree, wait_for
from tests.faults.proxy import Proxy


@contextmanager
def tracking_server(arena: Arena) -> Iterator[Proxy]:
    """Start MLflow's server on the arena's database, and let the search use it through a proxy."""
    port = free_port()
    proxy = Proxy(port)
    hosts = f"127.0.0.1:{port},127.0.0.1:{proxy.port}"
    with (arena.folder / "mlflow.txt").open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server",
                "--backend-store-uri", f"sqlite:///{arena.home / 'mlflow.db'}",
                "--artifacts-destination", str(arena.folder / "artifacts"),
                "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                "--allowed-hosts", hosts,
            ],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_for("MLflow's server answers", lambda: _is_up(port), 120)
        arena.document["storage"] = {"mlflow": f"http://127.0.0.1:{proxy.port}"}
        yield proxy
    finally:
        proxy.close()
        kill_tree(server.pid)
        server.wait()


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
