"""Fault 4: a node goes away in the middle of a trial, and another joins."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.nodes import Nodes
from tests.waiting import wait_for


@pytest.fixture
def nodes(arena: Arena) -> Iterator[Nodes]:
    made = Nodes(arena)
    yield made
    made.close()


def on(node: psutil.Process) -> set[int]:
    """Processes of a node."""
    return {process.pid for process in node.children(recursive=True)}


def test_a_search_goes_on_without_a_lost_node_and_with_a_new_one(
    arena: Arena, judge: Judge, nodes: Nodes
) -> None:
    arena.document["trials"] = 12
    arena.document["concurrency"] = 2
    nodes.head()
    lost = nodes.worker()
    driver = arena.start("run", arena.write(), "--address", nodes.address, **nodes.variables)

    def trains_there() -> bool:
        there = on(psutil.Process(lost.pid))
        return any(step.pid in there for step in arena.witness.steps()[-5:])

    arena.wait_finished(1)
    wait_for("the node trains", trains_there)
    there = on(psutil.Process(lost.pid))
    nodes.lose(lost)
    arena.struck(*there)
    arena.wait_steps()
    added = nodes.worker()
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert added.poll() is None
