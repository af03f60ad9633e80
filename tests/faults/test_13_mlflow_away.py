"""Fault 13: MLflow is unreachable for 20 seconds, during which a worker dies."""

from __future__ import annotations

import itertools
import statistics
import time

from tests.faults.conftest import RunChecker
from tests.faults.processes import kill
from tests.faults.system import SystemUnderTest
from tests.faults.tracking import tracking_server

OUTAGE_SECONDS = 20.0
LOOK_SECONDS = 10.0
"""Largest fraction of the outage before the worker dies."""
STALL_SECONDS = 5.0
"""A step of this duration has waited for MLflow; a median would not show it."""
USUAL_SECONDS = 3.0
"""Time of the measurement of training speed, before and after the outage."""
WINDOW = 150
"""Steps over which a median is computed."""


def gaps_since(system: SystemUnderTest, first: int) -> list[float]:
    """Seconds between consecutive steps of a process, for logged steps from an index on."""
    return [
        later - earlier
        for (pid, earlier), (same, later) in itertools.pairwise(system.events.times()[first:])
        if pid == same
    ]


def window_seconds(system: SystemUnderTest) -> float:
    """Median seconds of a step over the next window."""
    first = len(system.events.times())
    system.wait_steps(WINDOW)
    return statistics.median(gaps_since(system, first))


def least_seconds(system: SystemUnderTest, seconds: float, enough: float = 0.0) -> float:
    """Median seconds of a step in the fastest window.

    Args:
        system: The search.
        seconds: Duration of the measurement.
        enough: Seconds of a step at which the measurement may end.
    """
    until = time.monotonic() + seconds
    least = window_seconds(system)
    while least >= enough and time.monotonic() < until:
        least = min(least, window_seconds(system))
    return least


def test_an_outage_slows_no_training_and_is_caught_up(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    space = system.document["space"]
    space["depth"], space["width"] = {"choices": [1]}, {"choices": [32]}
    # Training of the second budget lasts longer than the outage.
    space["budget"]["choices"] = [100, 12_000]
    system.document["sampler"] = "grid"
    system.document["concurrency"] = 1
    system.document["trials"] = 6
    system.document["training"]["checkpoint_seconds"] = 1.0
    with tracking_server(system) as proxy:
        driver = system.start(faults={"timed_steps": {}})
        system.wait_finished(1)
        system.wait_steps(100)
        before = least_seconds(system, USUAL_SECONDS)
        proxy.leave()
        away = time.monotonic()
        last = len(system.events.times()) - 1
        during = least_seconds(system, LOOK_SECONDS, enough=1.1 * before)
        longest = max(gaps_since(system, last))
        worker = system.events.steps()[-1].pid
        kill(worker)
        system.fault_injected(worker)
        system.wait_for_recovery()
        time.sleep(max(0.0, away + OUTAGE_SECONDS - time.monotonic()))
        proxy.come_back()
        # The load of the machine may have grown.
        after = least_seconds(system, USUAL_SECONDS)
        system.finish(driver)
        run_checker(system)
    assert during < 1.1 * max(before, after)
    assert longest < STALL_SECONDS
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
