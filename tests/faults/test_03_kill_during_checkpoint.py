"""Fault 3: SIGKILL while a checkpoint is being written, ten times."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import is_alive, kill
from tests.faults.stored import is_writing, staged, starts_a_chain
from tests.waiting import wait_for

KILLS = 10


class Hunter:
    """Kills workers in the middle of a checkpoint: one is stopped first, and then looked at.

    A job goes on after the death of one process, so each is hit once: on the path that its chain
    starts with.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.hit: dict[str, int] = {}

    def strike(self) -> bool:
        """Kill a worker that is writing a checkpoint just now, if there is one."""
        last = {step.pid: step.path for step in self._arena.witness.steps()[-200:]}
        return any(
            self._strike(worker, path)
            for worker, path in last.items()
            if path not in self.hit and is_alive(worker) and starts_a_chain(self._arena.store, path)
        )

    def _strike(self, worker: int, path: str) -> bool:
        for _ in range(20):
            if not is_writing(worker, self._arena.store):
                continue
            os.kill(worker, signal.SIGSTOP)
            if is_writing(worker, self._arena.store):
                kill(worker)
                self.hit[path] = worker
                return True
            os.kill(worker, signal.SIGCONT)
        return False


@pytest.mark.timeout(600)
def test_kills_while_checkpoints_are_written_lose_nothing(arena: Arena, judge: Judge) -> None:
    arena.document["trials"] = KILLS + 2
    arena.document["space"] |= {
        "depth": {"low": 1, "high": 3},
        "width": {"low": 32, "high": 128, "step": 32},
        "budget": {"unit": "steps", "choices": [300]},
        "quantisation": {"choices": ["none"]},
    }
    arena.document["training"]["checkpoint_seconds"] = 0.05
    driver = arena.start()
    hunter = Hunter(arena)
    for _ in range(KILLS):
        wait_for("a checkpoint that is being written", hunter.strike)
    *_, last = hunter.hit.values()
    arena.struck(last)
    arena.wait_recovered()
    arena.finish(driver)
    judge(arena)
    assert len(hunter.hit) == KILLS
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert arena.finished() == arena.document["trials"]
    assert staged(arena.store) == [], "what the killed left is removed"
