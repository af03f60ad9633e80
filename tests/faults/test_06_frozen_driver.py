"""Fault 6: the driver process is frozen until its lease expires, and wakes after a takeover."""

from __future__ import annotations

import os
import signal
import time

from search.storage.lease import LEASE
from search.storage.study import Study
from tests.faults.conftest import RunChecker
from tests.faults.shared_storage import share
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

INTERRUPTED = 130
SOON = {"short_lease": {"lost": 8.0, "watch": 6.0}}


def test_a_frozen_driver_is_replaced_and_reports_nothing_late(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    elsewhere = share(system)
    first = system.start(faults=SOON)
    system.wait_finished(2)
    system.wait_steps(20)
    os.kill(first.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    # Too early for the usual lease: the process may only be slow.
    system.finish(system.start(**elsewhere), code=2)
    time.sleep(max(0.0, frozen + 8.5 - time.monotonic()))

    system.fault_injected()
    second = system.start(faults=SOON, **elsewhere)
    study = Study.load(system.name, system.study_url)
    wait_for(
        f"the other takes over\n{system.output[-2000:]}",
        lambda: any(record.attempt == 2 for record in study.records()),
    )
    assert study.attributes[LEASE]["pid"] == second.pid
    system.wait_for_recovery()
    os.kill(first.pid, signal.SIGCONT)
    system.finish(first, code=INTERRUPTED)
    assert "another process runs this search now" in system.output
    system.finish(second)
    run_checker(system)
    records = study.records()
    assert all(record.is_complete for record in records)
    assert len(records) == system.finished() == system.document["trials"]
    assert study.attributes[LEASE]["pid"] == second.pid
