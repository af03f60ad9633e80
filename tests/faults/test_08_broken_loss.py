"""Fault 8: the loss becomes NaN or infinite, or explodes."""

from __future__ import annotations

from objectives.training.loop import READ_INTERVAL
from tests.faults.conftest import RunChecker
from tests.faults.system import SystemUnderTest

STATES = {"nan": "not_finite", "inf": "not_finite", "1e6": "diverged"}


def test_training_stops_within_one_interval(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["concurrency"] = 1
    step = system.rng.randint(5, 60)
    system.finish(system.start(faults={"loss": {"step": step, "values": list(STATES)}}))
    run_checker(system)
    broken = [record for record in system.events.committed() if record["state"] == "FAIL"]
    assert [record["failure"]["state"] for record in broken] == list(STATES.values())
    assert system.finished() == system.document["trials"]
    # From the fault in each training to the commit of its trial.
    lines = system.events.lines()
    for start in [index for index, line in enumerate(lines) if line[:2] == ["did", "loss"]]:
        until = next(index for index in range(start, len(lines)) if lines[index][0] == "committed")
        steps = [int(line[1]) for line in lines[start + 1 : until] if line[1].isdigit()]
        assert step <= max(steps) <= step + READ_INTERVAL
