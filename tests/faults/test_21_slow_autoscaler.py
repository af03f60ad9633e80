"""Fault 21: a cluster has no worker at first, and its autoscaler takes long to add some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import RunChecker
from tests.faults.nodes import Nodes
from tests.faults.system import SystemUnderTest

NODES = 3
DELAY = 8.0
"""Seconds that a new node takes."""


@pytest.fixture
def nodes(system: SystemUnderTest) -> Iterator[Nodes]:
    made = Nodes(system)
    yield made
    made.close()


def test_a_search_waits_for_its_first_node_and_asks_for_the_others_together(
    system: SystemUnderTest, run_checker: RunChecker, nodes: Nodes
) -> None:
    system.document["trials"] = 12
    # Long enough for the other nodes to come.
    system.document["space"]["budget"]["choices"] = [500, 1000]
    system.document["concurrency"] = NODES
    nodes.autoscaling_head(delay=DELAY, most=NODES)
    system.finish(
        system.start("run", system.write(), "--address", nodes.address, **nodes.variables)
    )
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    waits = "waiting for an autoscaler to add nodes with 1 CPU, for at most 30 minutes"
    assert waits in system.output
    requests = [line.split() for line in nodes.requests.read_text().splitlines()]
    assert sum(int(count) for _, count in requests) == NODES
    times = [float(time) for time, _ in requests]
    assert times[1] - times[0] >= DELAY
    assert times[-1] - times[1] < DELAY
    workers = [step.pid for step in system.events.steps()]
    last = {pid: index for index, pid in enumerate(workers)}
    first = {pid: workers.index(pid) for pid in last}
    # A node has one processor: workers at a time are nodes at a time.
    at_once = [sum(first[p] <= index <= last[p] for p in last) for index in first.values()]
    assert max(at_once) >= 2, (first, last)


def test_a_cluster_that_does_not_grow_in_time_is_refused(
    system: SystemUnderTest, nodes: Nodes
) -> None:
    system.document["concurrency"] = NODES
    system.document["resources"] = {"gpus": 1, "nodes_deadline_seconds": 5.0}
    nodes.autoscaling_head(delay=DELAY, most=NODES)
    refused = system.start("run", system.write(), "--address", nodes.address, **nodes.variables)
    assert refused.wait(120) == 2
    fault = "resources.cpus: a trial asks for 1 on one node, the cluster has 0; no autoscaler added"
    assert fault in system.output
