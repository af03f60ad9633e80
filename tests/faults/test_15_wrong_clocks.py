"""Fault 15: the clock is one hour off in the workers, and in a driver that is started again."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.arena import Arena
from tests.faults.clocks import HOUR, build_clock, has_compiler, wrong
from tests.faults.conftest import Judge
from tests.faults.homes import share
from tests.faults.processes import kill_tree


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that puts the clock of a process wrong."""
    if not has_compiler():
        pytest.skip("needs a C compiler (cc) to put the clock of a process wrong")
    return build_clock(tmp_path_factory.mktemp("clock"))


def test_clocks_that_are_wrong_change_nothing(arena: Arena, judge: Judge, clock: str) -> None:
    elsewhere = share(arena)
    driver = arena.start(**wrong(clock, HOUR, "default_worker.py"))
    arena.wait_finished(3)
    arena.wait_steps(20)
    kill_tree(driver.pid)
    driver.wait()
    arena.struck()

    before = arena.finished()
    driver = arena.start(**wrong(clock, -HOUR, "search.cli"))
    arena.wait_recovered()
    # So that it does not end meanwhile.
    held = arena.wait_steps()
    os.kill(held, signal.SIGSTOP)
    # Its signs of life are an hour old for whoever has the right time, and it lives.
    assert arena.tlc("status", arena.name).stdout == "running\n"
    assert arena.answer("list")[0]["state"] == "running"
    second = arena.start(**elsewhere)
    arena.finish(second, code=2)
    assert "is running already" in arena.output
    os.kill(held, signal.SIGCONT)
    arena.finish(driver)
    judge(arena)

    assert arena.answer("show", arena.name)["state"] == "finished"
    told = [record["number"] for record in arena.witness.told()]
    rows = arena.answer("trials", arena.name)["trials"]
    by_time = sorted(rows, key=lambda row: row["finished"])
    assert [row["trial"] for row in by_time] == told[before:] + told[:before], "the clock was wrong"
    assert hypervolumes(arena) == sorted(hypervolumes(arena))
    assert orders(arena) == {number: place for place, number in enumerate(told, start=1)}


def hypervolumes(arena: Arena) -> list[float]:
    """The hypervolume after each finished trial, as MLflow shows it."""
    from mlflow import MlflowClient

    client = MlflowClient(arena.tracking_uri)
    (parent,) = [r for r in arena.mlflow_runs() if r.data.tags["tlc.key"].endswith("/parent")]
    history = client.get_metric_history(parent.info.run_id, "hypervolume")
    points = {point.step: point.value for point in history}
    assert sorted(points) == list(range(1, arena.document["trials"] + 1))
    return [points[step] for step in sorted(points)]


def orders(arena: Arena) -> dict[int, int]:
    """The place of each trial in the order in which they finished."""
    from search.storage.study import Study

    records = Study.load(arena.name, arena.study_url).records()
    return {record.number: record.order for record in records}
