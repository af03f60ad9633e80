"""Fault 10: a compressor raises, gives NaN, is constant, is no smaller, or hangs."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge

STATES = {
    "raises": "compression_error",
    "nan": "not_finite",
    "constant": "constant",
    "not_smaller": "not_smaller",
    "hangs": "hung",
}


def test_a_broken_compressor_fails_in_a_named_state_and_costs_no_training(
    arena: Arena, judge: Judge
) -> None:
    space = arena.document["space"]
    space["depth"], space["width"] = {"choices": [1]}, {"choices": [32]}
    space["quantisation"] = {"choices": ["rtn-8", "rtn-6", "rtn-4", "rtn-3"]}
    space["budget"]["choices"] = [100, 200]
    arena.document["sampler"] = "grid"
    arena.document["concurrency"] = 1
    arena.document["resources"] = {"progress_deadline_seconds": 20.0}
    # A hang is tried again once, and hangs again.
    behaviours = [*STATES, "hangs"]
    arena.finish(arena.start(faults={"compressor": {"behaviours": behaviours}}))
    judge(arena)
    broken = [record for record in arena.witness.told() if record["state"] == "FAIL"]
    assert [record["failure"]["state"] for record in broken] == list(STATES.values())
    assert arena.finished() == arena.document["trials"] == 8
    # Each step was trained once: the models that the compressor broke on were kept.
    steps = [(step.path, step.number) for step in arena.witness.steps()]
    assert len(steps) == len(set(steps))
