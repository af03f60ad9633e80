"""A Ray cluster of several nodes on this machine, which can be killed and added."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.ports import free_port, listens
from tests.faults.processes import kill, kill_tree
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for


@dataclass
class Nodes:
    """Nodes as processes of this machine, with token authentication.

    Args:
        system: The system whose event log the workers write.
    """

    system: SystemUnderTest
    port: int = field(default_factory=free_port)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Address of the cluster."""
        return f"127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of every process that joins the cluster."""
        path = self.system.folder / "token"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path),
            "RAY_USAGE_STATS_ENABLED": "0",
            # The driver waits this long for a lost head; the default is a minute.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }

    def head(self) -> subprocess.Popen[bytes]:
        """Start the head, with one processor."""
        node = self._start(
            "--head", f"--port={self.port}", "--num-cpus=1", "--include-dashboard=false"
        )
        wait_for("the head listens", lambda: listens(self.port))
        return node

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a node with one processor that joins the head."""
        return self._start(f"--address={self.address}", "--num-cpus=1")

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        number = len(self.started)
        with (self.system.folder / f"node{self.port}-{number}.txt").open("ab") as output:
            node = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "ray"),
                    "start",
                    "--block",
                    "--object-store-memory=100000000",
                    # A node deletes this folder when it starts, so each has its own.
                    f"--temp-dir={self.system.temporary / f'{self.port}-{number}'}",
                    *options,
                ],
                env={**os.environ, **self.system.environment(), **self.variables},
                stdout=output,
                stderr=output,
            )
        self.started.append(node)
        return node

    @staticmethod
    def lose(node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node at once, as if the machine were lost."""
        kill_tree(node.pid)
        node.wait()

    def close(self) -> None:
        """Kill all processes that are left."""
        for node in self.started:
            if node.poll() is None:
                self.lose(node)
        # Workers of a killed raylet have no parent.
        for process in psutil.process_iter(["pid", "environ"]):
            variables = process.info["environ"] or {}
            if variables.get("TLC_EVENT_LOG") == str(self.system.events.path):
                kill(process.info["pid"])
