"""A provider of nodes for Ray's autoscaler that takes its time, as a cloud does.

The head's autoscaler imports it. It is Ray's own fake provider, but for the start of nodes: each
has a folder of temporary files of its own, without which two on one machine end each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
)


class SlowProvider(FakeMultiNodeProvider):  # type: ignore[misc]
    """Starts nodes some seconds after they were asked for; each request is a line in a file."""

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: Any, labels: Any
    ) -> None:
        """Start so many nodes."""
        with Path(self.provider_config["log"]).open("a") as file:
            file.write(f"{time.monotonic()} {count}\n")
        time.sleep(self.provider_config["delay"])
        super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: Any, labels: Any
    ) -> None:
        with self.lock:
            node = self._next_hex_node_id()
            process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "ray"),
                    "start",
                    "--block",
                    "--object-store-memory=100000000",
                    f"--temp-dir={self.provider_config['folder']}/{node[-5:]}",
                    f"--address={self.provider_config['gcs_address']}",
                    f"--num-cpus={resources['CPU']}",
                ],
                env={**os.environ, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node},
            )
            state = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}
            self._nodes[node] = {
                "tags": {TAG_RAY_NODE_NAME: node, **state, **tags},
                "node": process,
            }

    def _terminate_node(self, node: dict[str, Any]) -> None:
        node["node"].terminate()
