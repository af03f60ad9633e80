"""Fault 6, the driver's half: it is frozen beyond the limit, another takes over, and it wakes."""

from __future__ import annotations

import os
import signal
import time

from search.storage.lease import LEASE
from search.storage.study import Study
from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.homes import share
from tests.waiting import wait_for

INTERRUPTED = 130
SOON = {"short_lease": {"lost": 8.0, "watch": 6.0}}


def test_a_frozen_driver_is_replaced_and_reports_nothing_late(arena: Arena, judge: Judge) -> None:
    elsewhere = share(arena)
    first = arena.start(faults=SOON)
    arena.wait_finished(2)
    arena.wait_steps(20)
    os.kill(first.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    # Too early for who is as patient as usual: it may only be slow.
    arena.finish(arena.start(**elsewhere), code=2)
    time.sleep(max(0.0, frozen + 8.5 - time.monotonic()))

    arena.struck()
    second = arena.start(faults=SOON, **elsewhere)
    study = Study.load(arena.name, arena.study_url)
    wait_for(
        f"the other takes over\n{arena.output[-2000:]}",
        lambda: any(record.attempt == 2 for record in study.records()),
    )
    assert study.attributes[LEASE]["pid"] == second.pid
    arena.wait_recovered()
    os.kill(first.pid, signal.SIGCONT)
    arena.finish(first, code=INTERRUPTED)
    assert "another process runs this search now" in arena.output
    arena.finish(second)
    judge(arena)
    records = study.records()
    assert all(record.is_complete for record in records)
    assert len(records) == arena.finished() == arena.document["trials"]
    assert study.attributes[LEASE]["pid"] == second.pid
