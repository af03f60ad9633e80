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
WINDOWS = 4
WINDOW = 150
"""Steps whose median time is compared; the best of some windows, for the machine does other work
too."""


def step_seconds(arena: Arena) -> float:
    """Median seconds of the steps of the next window that is disturbed least."""
    medians = []
    for _ in range(WINDOWS):
        first = len(arena.witness.times())
        arena.wait_steps(WINDOW)
        times = arena.witness.times()[first:]
        gaps = [
            later - earlier
            for (pid, earlier), (same, later) in itertools.pairwise(times)
            if pid == same
        ]
        medians.append(statistics.median(gaps))
    return min(medians)


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
        usual = step_seconds(arena)
        proxy.leave()
        away = time.monotonic()
        during = step_seconds(arena)
        kill(arena.witness.steps()[-1].pid)
        arena.wait_recovered()
        time.sleep(max(0.0, away + OUTAGE_SECONDS - time.monotonic()))
        proxy.come_back()
        arena.finish(driver)
        judge(arena)
    assert during < 1.1 * usual
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
