"""Fault 10: a compressor raises, gives NaN, is constant, is no smaller, or hangs."""

from __future__ import annotations

import pytest

from tests.faults.arena import Arena
from tests.faults.conftest import Judge

STATES = {
    "raises": "compression_error",
    "nan": "not_finite",
    "constant": "constant",
    "not_smaller": "not_smaller",
    "hangs": "hung",
}


@pytest.mark.parametrize("behaviour", STATES)
def test_a_broken_compressor_fails_in_a_named_state_and_costs_no_training(
    arena: Arena, judge: Judge, behaviour: str
) -> None:
    arena.document["space"]["quantisation"] = {"choices": ["rtn-8", "rtn-4"]}
    arena.document["space"]["depth"] = arena.document["space"]["width"] = {"choices": [1]}
    arena.document["space"]["width"] = {"choices": [32]}
    arena.document["space"]["budget"]["choices"] = [100, 120]
    arena.document["trials"] = 4
    arena.document["concurrency"] = 1
    arena.document["resources"] = {"progress_deadline_seconds": 12.0}
    # A hang is tried again once, and hangs again.
    faults = {"compressor": {"behaviour": behaviour, "times": 2 if behaviour == "hangs" else 1}}
    arena.finish(arena.start(faults=faults))
    judge(arena)
    told = arena.witness.told()
    (broken,) = [record for record in told if record["state"] == "FAIL"]
    assert broken["failure"]["state"] == STATES[behaviour]
    assert len(told) == 4
    # Each step was trained once: the model that the compressor broke on was kept.
    steps = [(step.path, step.number) for step in arena.witness.steps()]
    assert len(steps) == len(set(steps))
