"""Models that several workers train: one of them dies, and the search goes on."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from spaces.architecture import Architecture
from spaces.families import parameters
from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import descendants, kill, wait_for

FOLLOWER = "ray::_Follower.follow"

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")


def followers(pid: int) -> list[psutil.Process]:
    """Workers below a driver that follow another one."""
    found = []
    for process in descendants(pid):
        try:
            if process.cmdline() and process.cmdline()[0].startswith(FOLLOWER):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_killed_worker_of_several_costs_the_steps_since_the_checkpoint(
    arena: Arena, judge: Judge, strategy: str
) -> None:
    arena.document["trials"] = 4
    arena.document["space"]["depth"] = 2
    larger = parameters(Architecture.of(2, 64), arena.search.workload)
    arena.document["resources"] = {
        "progress_deadline_seconds": 60.0,
        "larger_models": [{"from_parameters": larger, "workers": 2, "strategy": strategy}],
    }
    driver = arena.start()
    wait_for("a second worker", lambda: followers(driver.pid))
    first = {process.pid for process in followers(driver.pid)}
    arena.wait_steps(10)
    started = time.monotonic()
    kill(*first)
    wait_for("another one", lambda: {p.pid for p in followers(driver.pid)} - first)
    arena.recovery_seconds = time.monotonic() - started
    arena.finish(driver)
    judge(arena)
    records = arena.witness.told()
    assert all(record["state"] == "COMPLETE" for record in records)
    assert "its process died; it goes on from its last checkpoint" in arena.output
    assert not followers(driver.pid)
