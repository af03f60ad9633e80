"""Fault 3: SIGKILL while a checkpoint is being written, ten times."""

from __future__ import annotations

import os
import signal

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import kill, wait_for
from tests.faults.stored import staged, staged_checkpoint

KILLS = 10


def kill_while_writing(arena: Arena, worker: int) -> None:
    """Kill a worker in the middle of a checkpoint: it is stopped first, and then looked at."""

    def is_caught() -> bool:
        for _ in range(1000):
            if not staged_checkpoint(arena.store):
                continue
            os.kill(worker, signal.SIGSTOP)
            if staged_checkpoint(arena.store):
                kill(worker)
                return True
            os.kill(worker, signal.SIGCONT)
        return False

    wait_for("a checkpoint that is being written", is_caught)


def test_kills_while_checkpoints_are_written_lose_nothing(arena: Arena, judge: Judge) -> None:
    arena.document["trials"] = KILLS + 3
    arena.document["concurrency"] = 1
    arena.document["space"] |= {
        "depth": {"low": 1, "high": 3},
        "width": {"low": 32, "high": 128, "step": 32},
        "quantisation": {"choices": ["none"]},
    }
    arena.document["training"]["checkpoint_seconds"] = 0.05
    driver = arena.start()
    for _ in range(KILLS):
        # A job survives the death of one process, so each trial is hit once.
        kill_while_writing(arena, arena.wait_steps())
        finished = arena.finished()
        arena.wait_recovered()
        arena.wait_finished(finished + 1)
    arena.finish(driver)
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert arena.finished() == arena.document["trials"]
    assert staged(arena.store) == [], "what the killed left is removed"
