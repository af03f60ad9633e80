"""Fault 9: one model does not fit into memory."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.system import SystemUnderTest

WIDE = 1024
MEGABYTES_MORE = 60


def test_a_model_that_is_too_large_fails_only_its_own_trials(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["space"]["width"] = {"choices": [32, 64, WIDE]}
    system.document["space"]["budget"]["choices"] = [100, 200]
    system.document["trials"] = 10
    system.document["concurrency"] = 2
    limit = {"width": WIDE, "bytes": MEGABYTES_MORE << 20}
    system.finish(system.start(faults={"out_of_memory": limit}))
    run_checker(system)
    committed = system.events.committed()
    width = {r["number"]: r["configuration"]["architecture"]["width"] for r in committed}
    for record in committed:
        if width[record["number"]] == WIDE:
            assert record["failure"]["state"] == "oom"
        else:
            assert record["state"] == "COMPLETE"
    too_large = sum(each == WIDE for each in width.values())
    assert too_large
    # The first attempt and one retry.
    assert len(system.events.did("out_of_memory")) == 2 * too_large
