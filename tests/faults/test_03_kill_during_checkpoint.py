"""Fault 3: SIGKILL while a checkpoint is being written, ten times."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.conftest import RunChecker
from tests.faults.processes import is_alive, kill
from tests.faults.store_files import is_writing, staged, starts_a_chain
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for

KILLS = 10


class CheckpointKiller:
    """Kills workers while they write a checkpoint: stops a worker first, and then checks it.

    A job continues after the death of one process, so each chain is hit once, on its first path.
    """

    def __init__(self, system: SystemUnderTest) -> None:
        self._system = system
        self.hit: dict[str, int] = {}

    def strike(self) -> bool:
        """Kill a worker that is writing a checkpoint, if there is one."""
        last = {step.pid: step.path for step in self._system.events.steps()[-200:]}
        return any(
            self._strike(worker, path)
            for worker, path in last.items()
            if path not in self.hit
            and is_alive(worker)
            and starts_a_chain(self._system.store, path)
        )

    def _strike(self, worker: int, path: str) -> bool:
        for _ in range(20):
            if not is_writing(worker, self._system.store):
                continue
            os.kill(worker, signal.SIGSTOP)
            if is_writing(worker, self._system.store):
                kill(worker)
                self.hit[path] = worker
                return True
            os.kill(worker, signal.SIGCONT)
        return False


@pytest.mark.timeout(600)
def test_kills_while_checkpoints_are_written_lose_nothing(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["trials"] = KILLS + 2
    system.document["space"] |= {
        "depth": {"low": 1, "high": 3},
        "width": {"low": 32, "high": 128, "step": 32},
        "budget": {"unit": "steps", "choices": [300]},
        "quantisation": {"choices": ["none"]},
    }
    system.document["training"]["checkpoint_seconds"] = 0.05
    driver = system.start()
    killer = CheckpointKiller(system)
    for _ in range(KILLS):
        wait_for("a checkpoint that is being written", killer.strike)
    *_, last = killer.hit.values()
    system.fault_injected(last)
    system.wait_for_recovery()
    system.finish(driver)
    run_checker(system)
    assert len(killer.hit) == KILLS
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    assert system.finished() == system.document["trials"]
    assert staged(system.store) == [], "what the killed left is removed"
