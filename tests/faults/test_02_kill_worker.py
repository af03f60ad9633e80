"""Fault 2: SIGKILL of a worker in the middle of training."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import kill


def test_a_killed_worker_costs_the_steps_since_its_checkpoint(arena: Arena, judge: Judge) -> None:
    driver = arena.start()
    arena.wait_finished(1)
    worker = arena.wait_steps(arena.rng.randint(10, 100))
    kill(worker)
    arena.struck(worker)
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
