"""Fault 1: SIGKILL of the driver process, three times at random."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.processes import kill
from tests.faults.system import SystemUnderTest


def test_a_driver_killed_three_times_loses_and_repeats_nothing(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    for _ in range(3):
        driver = system.start()
        if system.events.steps():
            system.wait_for_recovery()
        system.wait_steps(system.rng.randint(20, 300))
        kill(driver.pid)
        system.fault_injected()
        assert driver.wait() == -9
    system.finish()
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    assert system.finished() == system.document["trials"]
