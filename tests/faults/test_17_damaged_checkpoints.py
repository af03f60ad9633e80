"""Fault 17: checkpoints that are flipped, truncated, zeroed at the end, or swapped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from tests.faults.conftest import RunChecker
from tests.faults.processes import descendants, is_alive, kill
from tests.faults.store_files import Interrupted, interrupted
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for


def flip(system: SystemUnderTest, one: Interrupted, _: Interrupted) -> None:
    """Flip a bit of a file."""
    file = system.rng.choice(sorted(one.newest.iterdir()))
    data = bytearray(file.read_bytes())
    data[system.rng.randrange(len(data))] ^= 1 << system.rng.randrange(8)
    file.write_bytes(data)


def truncate(system: SystemUnderTest, one: Interrupted, _: Interrupted) -> None:
    """Truncate a file."""
    file = system.rng.choice(sorted(one.newest.iterdir()))
    data = file.read_bytes()
    file.write_bytes(data[: system.rng.randrange(len(data))])


def zero(system: SystemUnderTest, one: Interrupted, _: Interrupted) -> None:
    """Zero the end of a file, as after a power loss."""
    file = system.rng.choice(sorted(one.newest.iterdir()))
    data = file.read_bytes()
    kept = system.rng.randrange(len(data))
    file.write_bytes(data[:kept] + bytes(len(data) - kept))


def swap(_: SystemUnderTest, one: Interrupted, other: Interrupted) -> None:
    """Exchange a checkpoint for one of another path."""
    shutil.rmtree(one.newest)
    shutil.copytree(other.newest, one.newest)


Damage = Callable[[SystemUnderTest, Interrupted, Interrupted], None]


def test_a_damaged_checkpoint_is_detected_and_the_previous_one_used(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["space"]["budget"]["choices"] = [1200]
    system.document["space"]["quantisation"]["choices"] = ["none"]
    system.document["trials"] = 4
    # Two concurrent trainings, whose checkpoints can be swapped.
    system.document["concurrency"] = 2
    rounds: list[tuple[Damage, Damage]] = [(flip, truncate), (swap, zero)]
    left: list[tuple[int, Interrupted]] = []
    for damages in rounds:
        paths = interrupt(system)
        for damage, one, other in zip(damages, paths, reversed(paths), strict=True):
            damage(system, one, other)
        for path in paths:
            left.append((len(system.events.steps()), path))
            system.events.damaged(path.key, path.previous)
    system.finish()
    run_checker(system)
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    assert "was damaged in the store; it was removed" in system.output
    steps = system.events.steps()
    for then, path in left:
        again = next(step for step in steps[then:] if step.path == path.key)
        assert again.number == path.previous + 1, "the one before is used"


def interrupt(system: SystemUnderTest) -> list[Interrupted]:
    """Start the search, and kill it while two trainings are between checkpoints."""
    since = time.time()
    driver = system.start()
    if system.events.steps():
        system.wait_for_recovery()
    wait_for("two trainings", lambda: len(interrupted(system.store, since=since)) > 1)
    everything = [driver.pid, *(process.pid for process in descendants(driver.pid))]
    kill(*everything)
    system.fault_injected()
    driver.wait()
    wait_for("the end", lambda: not any(map(is_alive, everything)))
    left = interrupted(system.store, since=since)
    assert len(left) == 2
    return left
