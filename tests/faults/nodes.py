"""A Ray cluster of several nodes on this machine, which can be killed and added."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_TYPE

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

    def head(self, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start the head, with one processor or none."""
        node = self._start(
            "--head", f"--port={self.port}", f"--num-cpus={cpus}", "--include-dashboard=false"
        )
        wait_for("the head listens", lambda: listens(self.port))
        return node

    def autoscaling_head(self, *, delay: float, most: int) -> subprocess.Popen[bytes]:
        """Start a head without processors, whose autoscaler adds nodes with one.

        Args:
            delay: Seconds that a new node takes.
            most: Nodes beside the head.
        """
        nothing: list[Any] = []
        provider = {
            "type": "external",
            "module": "tests.faults.slow_provider.SlowProvider",
            "gcs_address": self.address,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "delay": delay,
            "log": str(self.requests),
            "folder": str(self.system.temporary),
        }
        worker = {"CPU": 1, "object_store_memory": 100_000_000}
        types = {FAKE_HEAD_NODE_TYPE: ({"CPU": 0}, 0), "worker": (worker, most)}
        config = {
            "cluster_name": "fake",
            "max_workers": most,
            "provider": provider,
            "available_node_types": {
                name: {"resources": has, "node_config": {}, "min_workers": 0, "max_workers": count}
                for name, (has, count) in types.items()
            },
            "head_node_type": FAKE_HEAD_NODE_TYPE,
            "upscaling_speed": 100.0,
            "idle_timeout_minutes": 5,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            **dict.fromkeys(("rsync_exclude", "rsync_filter", "cluster_synced_files"), nothing),
            **dict.fromkeys(("initialization_commands", "setup_commands"), nothing),
            **dict.fromkeys(("head_setup_commands", "worker_setup_commands"), nothing),
            **dict.fromkeys(("head_start_ray_commands", "worker_start_ray_commands"), nothing),
        }
        file = self.system.folder / "autoscaler.json"
        file.write_text(json.dumps(config))
        node = self._start(
            "--head",
            f"--port={self.port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--autoscaling-config={file}",
            RAY_FAKE_CLUSTER="1",
            AUTOSCALER_UPDATE_INTERVAL_S="1",
        )
        wait_for("the head listens", lambda: listens(self.port))
        return node

    @property
    def requests(self) -> Path:
        """File with a line for each request for nodes: its monotonic time, and their number."""
        return self.system.folder / "requests.txt"

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a node with one processor that joins the head."""
        return self._start(f"--address={self.address}", "--num-cpus=1")

    def _start(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
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
                env={**os.environ, **self.system.environment(), **self.variables, **variables},
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
