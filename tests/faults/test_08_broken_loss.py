"""Fault 8: the loss becomes NaN or infinite, or explodes."""

from __future__ import annotations

import pytest

from objectives.training import RECENT
from tests.faults.arena import Arena
from tests.faults.conftest import Judge

STATES = {"nan": "not_finite", "inf": "not_finite", "1e6": "diverged"}


@pytest.mark.parametrize("value", STATES)
def test_training_stops_within_one_interval(arena: Arena, judge: Judge, value: str) -> None:
    arena.document["trials"] = 3
    arena.document["concurrency"] = 1
    step = arena.rng.randint(5, 60)
    arena.finish(arena.start(faults={"loss": {"step": step, "value": value}}))
    judge(arena)
    (broken,) = [record for record in arena.witness.told() if record["state"] == "FAIL"]
    assert broken["failure"]["state"] == STATES[value]
    (victim,) = arena.witness.did("loss")
    at = [line[:1] for line in arena.witness.lines()].index(["did"])
    after = [step.number for step in arena.witness.steps() if step.pid == victim]
    stopped = next(i for i, n in enumerate(after) if n <= step and i > 0) if at else len(after)
    assert max(after[:stopped] or [0]) <= step + RECENT
