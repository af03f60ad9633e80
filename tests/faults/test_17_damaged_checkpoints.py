"""Fault 17: checkpoints that are flipped, truncated, zeroed at the end, or swapped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.processes import descendants, is_alive, kill
from tests.faults.stored import Interrupted, interrupted
from tests.waiting import wait_for


def flip(arena: Arena, one: Interrupted, _: Interrupted) -> None:
    """One bit of one file."""
    file = arena.rng.choice(sorted(one.newest.iterdir()))
    data = bytearray(file.read_bytes())
    data[arena.rng.randrange(len(data))] ^= 1 << arena.rng.randrange(8)
    file.write_bytes(data)


def truncate(arena: Arena, one: Interrupted, _: Interrupted) -> None:
    """The end of one file is missing."""
    file = arena.rng.choice(sorted(one.newest.iterdir()))
    data = file.read_bytes()
    file.write_bytes(data[: arena.rng.randrange(len(data))])


def zero(arena: Arena, one: Interrupted, _: Interrupted) -> None:
    """The end of one file is zeros, as after a loss of power."""
    file = arena.rng.choice(sorted(one.newest.iterdir()))
    data = file.read_bytes()
    kept = arena.rng.randrange(len(data))
    file.write_bytes(data[:kept] + bytes(len(data) - kept))


def swap(_: Arena, one: Interrupted, other: Interrupted) -> None:
    """It is another one's, whole."""
    shutil.rmtree(one.newest)
    shutil.copytree(other.newest, one.newest)


Damage = Callable[[Arena, Interrupted, Interrupted], None]


def test_a_damaged_checkpoint_is_found_and_the_one_before_is_used(
    arena: Arena, judge: Judge
) -> None:
    arena.document["space"]["budget"]["choices"] = [1200]
    arena.document["space"]["quantisation"]["choices"] = ["none"]
    arena.document["trials"] = 4
    # Two paths in training at a time, whose checkpoints can be swapped.
    arena.document["concurrency"] = 2
    rounds: list[tuple[Damage, Damage]] = [(flip, truncate), (swap, zero)]
    left: list[tuple[int, Interrupted]] = []
    for damages in rounds:
        paths = interrupt(arena)
        for damage, one, other in zip(damages, paths, reversed(paths), strict=True):
            damage(arena, one, other)
        for path in paths:
            left.append((len(arena.witness.steps()), path))
            arena.witness.damaged(path.key, path.previous)
    arena.finish()
    judge(arena)
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    assert "was damaged in the store; it was removed" in arena.output
    steps = arena.witness.steps()
    for then, path in left:
        again = next(step for step in steps[then:] if step.path == path.key)
        assert again.number == path.previous + 1, "the one before is used"


def interrupt(arena: Arena) -> list[Interrupted]:
    """Start the search, and kill all of it while two trainings are between two checkpoints."""
    since = time.time()
    driver = arena.start()
    if arena.witness.steps():
        arena.wait_recovered()
    wait_for("two trainings", lambda: len(interrupted(arena.store, since=since)) > 1)
    everything = [driver.pid, *(process.pid for process in descendants(driver.pid))]
    kill(*everything)
    arena.struck()
    driver.wait()
    wait_for("the end", lambda: not any(map(is_alive, everything)))
    left = interrupted(arena.store, since=since)
    assert len(left) == 2
    return left
