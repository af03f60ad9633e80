"""Fault 14: MLflow does what it is asked, and its reply is lost."""

from __future__ import annotations

from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.tracking import tracking_server


def test_lost_replies_make_no_run_twice(arena: Arena, judge: Judge) -> None:
    arena.document["trials"] = 5
    with tracking_server(arena) as proxy:
        proxy.lose_replies("/runs/create", times=arena.rng.randint(2, 3))
        proxy.lose_replies("/runs/log-batch", times=arena.rng.randint(2, 3))
        arena.finish()
        assert len(proxy.lost) >= 4
        judge(arena)
