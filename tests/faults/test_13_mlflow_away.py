"""Fault 13: MLflow is away for 20 seconds, and a worker dies meanwhile."""

from __future__ import annotations

import itertools
import statistics
import time

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import kill
from tests.faults.tracking import tracking_server

OUTAGE_SECONDS = 20.0
WINDOW = 500
"""Steps whose median time is compared."""


def step_seconds(arena: Arena, first: int) -> float:
    """Median seconds of the steps after the first so many."""
    times = arena.witness.times()[first:]
    gaps = [
        later - earlier
        for (pid, earlier), (same, later) in itertools.pairwise(times)
        if pid == same
    ]
    return statistics.median(gaps)


def test_an_outage_slows_nothing_and_is_made_up_for(arena: Arena, judge: Judge) -> None:
    arena.document["space"]["depth"] = arena.document["space"]["width"] = {"choices": [1]}
    arena.document["space"]["width"] = {"choices": [32]}
    # The second budget is long enough to be trained through the outage.
    arena.document["space"]["budget"]["choices"] = [100, 8000]
    arena.document["sampler"] = "grid"
    arena.document["concurrency"] = 1
    arena.document["trials"] = 6
    arena.document["training"]["checkpoint_seconds"] = 1.0
    with tracking_server(arena) as proxy:
        driver = arena.start(faults={"timed_steps": {}})
        arena.wait_finished(1)
        arena.wait_steps(100)
        before = len(arena.witness.times())
        arena.wait_steps(WINDOW)
        usual = step_seconds(arena, before)
        proxy.leave()
        away = time.monotonic()
        before = len(arena.witness.times())
        victim = arena.wait_steps(WINDOW)
        during = step_seconds(arena, before)
        kill(victim)
        arena.wait_recovered()
        time.sleep(max(0.0, away + OUTAGE_SECONDS - time.monotonic()))
        proxy.come_back()
        arena.finish(driver)
        judge(arena)
    assert during < 1.1 * usual
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
