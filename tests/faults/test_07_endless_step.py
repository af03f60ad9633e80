"""Fault 7: an optimiser step never ends, while the process lives and its other threads go on."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import is_alive
from tests.waiting import wait_for

DEADLINE = 20.0


def test_a_step_that_never_ends_is_found_by_progress(arena: Arena, judge: Judge) -> None:
    arena.document["resources"] = {"progress_deadline_seconds": DEADLINE}
    step = arena.rng.randint(20, 90)
    driver = arena.start(faults={"hang_in_step": {"step": step}})
    wait_for("a step hangs", lambda: arena.witness.did("hang_in_step"))
    (stuck,) = arena.witness.did("hang_in_step")
    assert is_alive(stuck)
    arena.struck(stuck)
    wait_for("it is found", lambda: "(training); killed" in arena.output, DEADLINE + 60)
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert not is_alive(stuck)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
