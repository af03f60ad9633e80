"""Fault 14: MLflow executes a request, and its reply is lost."""

from __future__ import annotations

from tests.faults.conftest import RunChecker
from tests.faults.system import SystemUnderTest
from tests.faults.tracking import tracking_server


def test_lost_replies_create_no_run_twice(system: SystemUnderTest, run_checker: RunChecker) -> None:
    system.document["trials"] = 5
    with tracking_server(system) as proxy:
        proxy.lose_replies("/runs/create", times=system.rng.randint(2, 3))
        proxy.lose_replies("/runs/log-batch", times=system.rng.randint(2, 3))
        system.finish()
        assert len(proxy.lost) >= 4
        run_checker(system)
