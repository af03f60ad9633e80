"""Fault 8: the loss becomes NaN or infinite, or explodes."""

from __future__ import annotations

from objectives.training.loop import READ_INTERVAL
from tests.faults.arena import Arena
from tests.faults.conftest import Judge

STATES = {"nan": "not_finite", "inf": "not_finite", "1e6": "diverged"}


def test_training_stops_within_one_interval(arena: Arena, judge: Judge) -> None:
    arena.document["concurrency"] = 1
    step = arena.rng.randint(5, 60)
    arena.finish(arena.start(faults={"loss": {"step": step, "values": list(STATES)}}))
    judge(arena)
    broken = [record for record in arena.witness.told() if record["state"] == "FAIL"]
    assert [record["failure"]["state"] for record in broken] == list(STATES.values())
    assert arena.finished() == arena.document["trials"]
    # From when each training was broken to when its trial was told.
    lines = arena.witness.lines()
    for start in [index for index, line in enumerate(lines) if line[:2] == ["did", "loss"]]:
        until = next(index for index in range(start, len(lines)) if lines[index][0] == "told")
        steps = [int(line[1]) for line in lines[start + 1 : until] if line[1].isdigit()]
        assert step <= max(steps) <= step + READ_INTERVAL
