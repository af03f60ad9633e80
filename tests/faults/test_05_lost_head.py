"""Fault 5: the head of the Ray cluster is lost, and with it the connection of the driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import RunChecker
from tests.faults.nodes import Nodes
from tests.faults.system import RUN_SECONDS, SystemUnderTest


@pytest.fixture
def clusters(system: SystemUnderTest) -> Iterator[list[Nodes]]:
    made = [Nodes(system), Nodes(system)]
    yield made
    for nodes in made:
        nodes.close()


def test_queries_work_meanwhile_and_another_cluster_resumes_the_search(
    system: SystemUnderTest, run_checker: RunChecker, clusters: list[Nodes]
) -> None:
    first, second = clusters
    head = first.head()
    driver = system.start("run", system.write(), "--address", first.address, **first.variables)
    system.wait_finished(2)
    system.wait_steps(20)
    first.lose(head)
    answered = system.query("trials", system.name)["trials"]
    known = {row["trial"]: row["result"]["score"] for row in answered if row["result"]}
    assert len(known) >= 2
    assert driver.wait(timeout=RUN_SECONDS) != 0

    system.fault_injected()
    second.head()
    again = system.start("run", system.write(), "--address", second.address, **second.variables)
    system.wait_for_recovery()
    system.finish(again)
    run_checker(system)
    later = {r["trial"]: r["result"] for r in system.query("trials", system.name)["trials"]}
    assert {number: later[number]["score"] for number in known} == known
