"""Fault 2: SIGKILL of one of several workers that train a model together."""

from __future__ import annotations

import os

import psutil
import pytest

from spaces.cost.architecture import Architecture
from spaces.cost.families import parameters
from tests.faults.conftest import RunChecker
from tests.faults.processes import descendants, kill
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

FOLLOWER = "ray::_Follower.follow"

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")


def followers(pid: int) -> list[psutil.Process]:
    """Workers of a driver process other than rank 0."""
    return [process for process in descendants(pid) if title(process).startswith(FOLLOWER)]


def title(process: psutil.Process) -> str:
    """Title of a process; empty for a process that is ending."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_killed_worker_of_several_costs_the_steps_since_the_checkpoint(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    space = {
        "depth": {"low": 1, "high": 2},
        "width": 64,
        "budget": {"unit": "steps", "choices": [80]},
    }
    system.document |= {"space": space, "sampler": "grid", "trials": 2}
    deeper = parameters(Architecture.of(2, 64), system.search.workload)
    system.document["resources"] = {
        "workers": 2,
        "larger_models": [{"from_parameters": deeper, "strategy": "fsdp"}],
    }
    driver = system.start()
    wait_for("a second worker", lambda: followers(driver.pid))
    first = {process.pid for process in followers(driver.pid)}
    system.wait_steps(10)
    kill(*first)
    system.fault_injected()
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    assert "it resumes from its last checkpoint" in system.output
    # The same workers trained the next model, in shards.
    assert len(system.events.committed()) == 2
    assert not followers(driver.pid)
