"""Models that several workers train: one of them dies, and the search goes on."""

from __future__ import annotations

import os

import psutil
import pytest

from spaces.cost.architecture import Architecture
from spaces.cost.families import parameters
from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import descendants, kill
from tests.waiting import wait_for

FOLLOWER = "ray::_Follower.follow"

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")


def followers(pid: int) -> list[psutil.Process]:
    """Workers below a driver that follow another one."""
    return [process for process in descendants(pid) if title(process).startswith(FOLLOWER)]


def title(process: psutil.Process) -> str:
    """What a process calls itself; empty for one that is ending."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_killed_worker_of_several_costs_the_steps_since_the_checkpoint(
    arena: Arena, judge: Judge
) -> None:
    space = {
        "depth": {"low": 1, "high": 2},
        "width": 64,
        "budget": {"unit": "steps", "choices": [80]},
    }
    arena.document |= {"space": space, "sampler": "grid", "trials": 2}
    deeper = parameters(Architecture.of(2, 64), arena.search.workload)
    arena.document["resources"] = {
        "workers": 2,
        "larger_models": [{"from_parameters": deeper, "strategy": "fsdp"}],
    }
    driver = arena.start()
    wait_for("a second worker", lambda: followers(driver.pid))
    first = {process.pid for process in followers(driver.pid)}
    arena.wait_steps(10)
    kill(*first)
    arena.struck()
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert "its process died; it resumes from its last checkpoint" in arena.output
    # The next model was trained by the same workers, in shards.
    assert len(arena.witness.told()) == 2
    assert not followers(driver.pid)
