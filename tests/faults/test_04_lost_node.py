"""Fault 4: a node is lost during a trial, and another joins."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.faults.conftest import RunChecker
from tests.faults.nodes import Nodes
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for


@pytest.fixture
def nodes(system: SystemUnderTest) -> Iterator[Nodes]:
    made = Nodes(system)
    yield made
    made.close()


def on(node: psutil.Process) -> set[int]:
    """Processes of a node."""
    return {process.pid for process in node.children(recursive=True)}


def test_a_search_continues_without_a_lost_node_and_with_a_new_one(
    system: SystemUnderTest, run_checker: RunChecker, nodes: Nodes
) -> None:
    system.document["trials"] = 12
    system.document["concurrency"] = 2
    nodes.head()
    lost = nodes.worker()
    driver = system.start("run", system.write(), "--address", nodes.address, **nodes.variables)

    def trains_there() -> bool:
        there = on(psutil.Process(lost.pid))
        return any(step.pid in there for step in system.events.steps()[-5:])

    system.wait_finished(1)
    wait_for("the node trains", trains_there)
    there = on(psutil.Process(lost.pid))
    nodes.lose(lost)
    system.fault_injected(*there)
    system.wait_steps()
    added = nodes.worker()
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    assert added.poll() is None
    assert "was lost; it resumes" in system.output
