"""Fault 6: a worker is frozen with SIGSTOP beyond the limit, and wakes later."""

from __future__ import annotations

import os
import signal

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import is_alive
from tests.waiting import wait_for

DEADLINE = 20.0


def test_a_frozen_worker_is_replaced_and_its_late_report_refused(
    arena: Arena, judge: Judge
) -> None:
    arena.document["resources"] = {"progress_deadline_seconds": DEADLINE}
    driver = arena.start()
    arena.wait_finished(1)
    frozen = arena.wait_steps(arena.rng.randint(10, 100))
    os.kill(frozen, signal.SIGSTOP)
    arena.struck(frozen)
    wait_for("it is found", lambda: "; killed" in arena.output, DEADLINE + 60)
    if is_alive(frozen):
        os.kill(frozen, signal.SIGCONT)
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert not is_alive(frozen)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
