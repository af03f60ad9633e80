"""Fault 15: the clock is wrong by one hour in workers and in a restarted driver process."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.clocks import HOUR, build_clock, has_compiler, wrong
from tests.faults.conftest import RunChecker
from tests.faults.processes import kill_tree
from tests.faults.shared_storage import share
from tests.faults.system import SystemUnderTest


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that shifts the clock of a process."""
    if not has_compiler():
        pytest.skip("needs a C compiler (cc) to put the clock of a process wrong")
    return build_clock(tmp_path_factory.mktemp("clock"))


def test_clocks_that_are_wrong_change_nothing(
    system: SystemUnderTest, run_checker: RunChecker, clock: str
) -> None:
    elsewhere = share(system)
    driver = system.start(**wrong(clock, HOUR, "default_worker.py"))
    system.wait_finished(3)
    system.wait_steps(20)
    kill_tree(driver.pid)
    driver.wait()
    system.fault_injected()

    before = system.finished()
    driver = system.start(**wrong(clock, -HOUR, "search.cli"))
    system.wait_for_recovery()
    # So that the search does not end.
    held = system.wait_steps()
    os.kill(held, signal.SIGSTOP)
    # Its heartbeats look an hour old to a process with the right time, but it lives.
    assert system.tlc("status", system.name).stdout == "running\n"
    assert system.query("list")[0]["state"] == "running"
    second = system.start(**elsewhere)
    system.finish(second, code=2)
    assert "is running already" in system.output
    os.kill(held, signal.SIGCONT)
    system.finish(driver)
    run_checker(system)

    assert system.query("show", system.name)["state"] == "finished"
    committed = [record["number"] for record in system.events.committed()]
    rows = system.query("trials", system.name)["trials"]
    by_time = sorted(rows, key=lambda row: row["finished"])
    assert [row["trial"] for row in by_time] == committed[before:] + committed[:before], (
        "the clock was wrong"
    )
    assert hypervolumes(system) == sorted(hypervolumes(system))
    assert orders(system) == {number: place for place, number in enumerate(committed, start=1)}


def hypervolumes(system: SystemUnderTest) -> list[float]:
    """The hypervolume after each finished trial, as MLflow shows it."""
    from mlflow import MlflowClient

    client = MlflowClient(system.tracking_uri)
    (parent,) = [r for r in system.mlflow_runs() if r.data.tags["tlc.key"].endswith("/parent")]
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    points = {point.step: point.value for point in history}
    assert sorted(points) == list(range(1, system.document["trials"] + 1))
    return [points[step] for step in sorted(points)]


def orders(system: SystemUnderTest) -> dict[int, int]:
    """Position of each trial in the order in which they finished."""
    from search.storage.study import Study

    records = Study.load(system.name, system.study_url).records()
    return {record.number: record.order for record in records}
