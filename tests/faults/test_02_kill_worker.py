"""Fault 2: SIGKILL of a worker during training."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.processes import kill
from tests.faults.system import SystemUnderTest


def test_a_killed_worker_costs_the_steps_since_its_checkpoint(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    driver = system.start()
    system.wait_finished(1)
    worker = system.wait_steps(system.rng.randint(10, 100))
    kill(worker)
    system.fault_injected(worker)
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
