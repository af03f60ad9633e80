"""Fault 1: SIGKILL of the driver, three times at random."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import kill


def test_a_driver_killed_three_times_loses_and_repeats_nothing(arena: Arena, judge: Judge) -> None:
    for _ in range(3):
        driver = arena.start()
        if arena.witness.steps():
            arena.wait_recovered()
        arena.wait_steps(arena.rng.randint(20, 300))
        kill(driver.pid)
        arena.struck()
        assert driver.wait() == -9
    arena.finish()
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert arena.finished() == arena.document["trials"]
