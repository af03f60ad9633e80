"""A Ray cluster of several nodes on this machine, that loses them and gets others."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.arena import Arena
from tests.faults.ports import free_port, listens
from tests.faults.processes import kill, kill_tree
from tests.waiting import wait_for


@dataclass
class Nodes:
    """Nodes as processes of this machine, with token authentication.

    Args:
        arena: Whose witness the workers on the nodes write to.
    """

    arena: Arena
    port: int = field(default_factory=free_port)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Address of the cluster."""
        return f"127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What every process that joins the cluster needs in its environment."""
        path = self.arena.folder / "token"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A minute by default, for which a driver waits for a head that is gone.
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
        with (self.arena.folder / f"node{self.port}-{number}.txt").open("ab") as output:
            node = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "ray"),
                    "start",
                    "--block",
                    "--object-store-memory=100000000",
                    # What one node removes when it starts must not be gone for another.
                    f"--temp-dir={self.arena.temporary / f'{self.port}-{number}'}",
                    *options,
                ],
                env={**os.environ, **self.arena.environment(), **self.variables},
                stdout=output,
                stderr=output,
            )
        self.started.append(node)
        return node

    @staticmethod
    def lose(node: subprocess.Popen[bytes]) -> None:
        """Kill all that runs on a node at once: a machine that goes away."""
        kill_tree(node.pid)
        node.wait()

    def close(self) -> None:
        """Kill what is left."""
        for node in self.started:
            if node.poll() is None:
                self.lose(node)
        # Workers of a raylet that was killed belong to nobody.
        for process in psutil.process_iter(["pid", "environ"]):
            variables = process.info["environ"] or {}
            if variables.get("TLC_WITNESS") == str(self.arena.witness.path):
                kill(process.info["pid"])
