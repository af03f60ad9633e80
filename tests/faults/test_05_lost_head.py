"""Fault 5: the head of the Ray cluster goes away, and with it the driver's connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.arena import RUN_SECONDS, Arena
from tests.faults.conftest import Judge
from tests.faults.nodes import Nodes


@pytest.fixture
def clusters(arena: Arena) -> Iterator[list[Nodes]]:
    made = [Nodes(arena), Nodes(arena)]
    yield made
    for nodes in made:
        nodes.close()


def test_answers_keep_coming_and_another_cluster_goes_on(
    arena: Arena, judge: Judge, clusters: list[Nodes]
) -> None:
    first, second = clusters
    head = first.head()
    driver = arena.start("run", arena.write(), "--address", first.address, **first.variables)
    arena.wait_finished(2)
    arena.wait_steps(20)
    first.lose(head)
    answered = arena.answer("trials", arena.name)["trials"]
    known = {row["trial"]: row["result"]["score"] for row in answered if row["result"]}
    assert len(known) >= 2
    assert driver.wait(timeout=RUN_SECONDS) != 0

    arena.struck()
    second.head()
    again = arena.start("run", arena.write(), "--address", second.address, **second.variables)
    arena.wait_recovered()
    arena.finish(again)
    judge(arena)
    later = {r["trial"]: r["result"] for r in arena.answer("trials", arena.name)["trials"]}
    assert {number: later[number]["score"] for number in known} == known
