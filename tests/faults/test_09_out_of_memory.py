"""Fault 9: one model does not fit into memory."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge

WIDE = 1024
MEGABYTES_MORE = 60


def test_one_model_that_is_too_large_costs_its_own_trials_alone(arena: Arena, judge: Judge) -> None:
    arena.document["space"]["width"] = {"choices": [32, 64, WIDE]}
    arena.document["space"]["budget"]["choices"] = [100, 200]
    arena.document["trials"] = 10
    arena.document["concurrency"] = 2
    limit = {"width": WIDE, "bytes": MEGABYTES_MORE << 20}
    arena.finish(arena.start(faults={"out_of_memory": limit}))
    judge(arena)
    told = arena.witness.told()
    width = {r["number"]: r["configuration"]["architecture"]["width"] for r in told}
    for record in told:
        if width[record["number"]] == WIDE:
            assert record["failure"]["state"] == "oom"
        else:
            assert record["state"] == "COMPLETE"
    too_large = sum(each == WIDE for each in width.values())
    assert too_large
    # The first try and one more.
    assert len(arena.witness.did("out_of_memory")) == 2 * too_large
