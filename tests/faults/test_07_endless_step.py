"""Fault 7: an optimiser step never ends, while the process and its other threads run."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.processes import is_alive
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

DEADLINE = 20.0


def test_a_step_that_never_ends_is_found_by_its_missing_heartbeat(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["resources"] = {"progress_deadline_seconds": DEADLINE}
    step = system.rng.randint(20, 90)
    driver = system.start(faults={"hang_in_step": {"step": step}})
    wait_for("a step hangs", lambda: system.events.did("hang_in_step"))
    (stuck,) = system.events.did("hang_in_step")
    assert is_alive(stuck)
    system.fault_injected(stuck)
    wait_for("it is found", lambda: "(training); killed" in system.output, DEADLINE + 60)
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert not is_alive(stuck)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
