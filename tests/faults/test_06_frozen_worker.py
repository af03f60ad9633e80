"""Fault 6: a worker is frozen with SIGSTOP beyond the deadline, and wakes later."""

from __future__ import annotations

import os
import signal

from tests.faults.conftest import RunChecker
from tests.faults.processes import is_alive
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

DEADLINE = 20.0


def test_a_frozen_worker_is_replaced_and_its_late_report_refused(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["resources"] = {"progress_deadline_seconds": DEADLINE}
    driver = system.start()
    system.wait_finished(1)
    frozen = system.wait_steps(system.rng.randint(10, 100))
    os.kill(frozen, signal.SIGSTOP)
    system.fault_injected(frozen)
    wait_for("it is found", lambda: "; killed" in system.output, DEADLINE + 60)
    if is_alive(frozen):
        os.kill(frozen, signal.SIGCONT)
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert not is_alive(frozen)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
