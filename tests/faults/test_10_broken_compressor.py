"""Fault 10: a compressor raises, gives NaN, is constant, is not smaller, or hangs."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.system import SystemUnderTest

STATES = {
    "raises": "compression_error",
    "nan": "not_finite",
    "constant": "constant",
    "not_smaller": "not_smaller",
    "hangs": "hung",
}


def test_a_broken_compressor_fails_in_a_named_state_and_loses_no_training(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    space = system.document["space"]
    space["depth"], space["width"] = {"choices": [1]}, {"choices": [32]}
    space["quantisation"] = {"choices": ["rtn-8", "rtn-6", "rtn-4", "rtn-3"]}
    space["budget"]["choices"] = [100, 200]
    system.document["sampler"] = "grid"
    system.document["concurrency"] = 1
    system.document["resources"] = {"progress_deadline_seconds": 20.0}
    # A hang is retried once, and hangs again.
    behaviours = [*STATES, "hangs"]
    system.finish(system.start(faults={"compressor": {"behaviours": behaviours}}))
    run_checker(system)
    broken = [record for record in system.events.committed() if record["state"] == "FAIL"]
    assert [record["failure"]["state"] for record in broken] == list(STATES.values())
    assert system.finished() == system.document["trials"] == 8
    # Each step was trained once: trained models stay in the store.
    steps = [(step.path, step.number) for step in system.events.steps()]
    assert len(steps) == len(set(steps))
