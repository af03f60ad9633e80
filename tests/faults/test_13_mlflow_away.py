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
LOOK_SECONDS = 10.0
"""How much of the outage passes, at most, before the worker dies."""
STALL_SECONDS = 5.0
"""A step that takes so long has waited for MLflow: a median would not show it."""
USUAL_SECONDS = 3.0
"""How long it is looked at how fast training is with MLflow there, before and after."""
WINDOW = 150
"""Steps whose median time is taken."""


def gaps_since(arena: Arena, first: int) -> list[float]:
    """Seconds between a step of a process and its next, of the witnessed steps from an index on."""
    return [
        later - earlier
        for (pid, earlier), (same, later) in itertools.pairwise(arena.witness.times()[first:])
        if pid == same
    ]


def window_seconds(arena: Arena) -> float:
    """Median seconds of a step over the next window."""
    first = len(arena.witness.times())
    arena.wait_steps(WINDOW)
    return statistics.median(gaps_since(arena, first))


def least_seconds(arena: Arena, seconds: float, enough: float = 0.0) -> float:
    """Median seconds of a step in the window that the machine's other work disturbed least.

    Args:
        arena: The search.
        seconds: How long to look.
        enough: Seconds of a step below which there is no need to look further.
    """
    until = time.monotonic() + seconds
    least = window_seconds(arena)
    while least >= enough and time.monotonic() < until:
        least = min(least, window_seconds(arena))
    return least


def test_an_outage_slows_nothing_and_is_made_up_for(arena: Arena, judge: Judge) -> None:
    space = arena.document["space"]
    space["depth"], space["width"] = {"choices": [1]}, {"choices": [32]}
    # The second budget is long enough to be trained through the outage.
    space["budget"]["choices"] = [100, 12_000]
    arena.document["sampler"] = "grid"
    arena.document["concurrency"] = 1
    arena.document["trials"] = 6
    arena.document["training"]["checkpoint_seconds"] = 1.0
    with tracking_server(arena) as proxy:
        driver = arena.start(faults={"timed_steps": {}})
        arena.wait_finished(1)
        arena.wait_steps(100)
        before = least_seconds(arena, USUAL_SECONDS)
        proxy.leave()
        away = time.monotonic()
        last = len(arena.witness.times()) - 1
        during = least_seconds(arena, LOOK_SECONDS, enough=1.1 * before)
        longest = max(gaps_since(arena, last))
        worker = arena.witness.steps()[-1].pid
        kill(worker)
        arena.struck(worker)
        arena.wait_recovered()
        time.sleep(max(0.0, away + OUTAGE_SECONDS - time.monotonic()))
        proxy.come_back()
        # The machine's other work may have grown meanwhile.
        after = least_seconds(arena, USUAL_SECONDS)
        arena.finish(driver)
        judge(arena)
    assert during < 1.1 * max(before, after)
    assert longest < STALL_SECONDS
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
