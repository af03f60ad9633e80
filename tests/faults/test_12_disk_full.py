"""Fault 12: the disk of the store, or of the study, is full, and later has space again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from objectives.store.manifest import CHECKPOINTS, MODELS
from objectives.store.store import Store
from tests.disks import fill, small_disk
from tests.faults.conftest import RunChecker
from tests.faults.store_files import staged
from tests.faults.system import SystemUnderTest
from tests.waiting import wait_for


def test_a_full_disk_pauses_the_search_until_there_is_space(
    system: SystemUnderTest, run_checker: RunChecker, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=64 << 20) as disk:
        system.document["storage"] = {"store": str(disk / "store")}
        driver = system.start()
        system.wait_finished(2)
        ballast = fill(disk)
        wait_for("a pause", lambda: "paused: no space for" in system.output and is_paused(system))
        finished = system.finished()

        assert driver.poll() is None
        store = Store(str(system.store))
        entries = [*store.entries(CHECKPOINTS), *store.entries(MODELS)]
        assert entries
        assert all(entry.matches(system.store / entry.address) for entry in entries)

        free_space(system, ballast)
        wait_for("the end of the pause", lambda: "resumed" in system.output)
        system.finish(driver)
        run_checker(system)
        assert staged(system.store) == [], "what had no space is not left half-written"
        assert finished < system.finished() == system.document["trials"]
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())
    done = Counter((step.path, step.number) for step in system.events.steps())
    assert set(done.values()) == {1}, "no step is trained twice, not even one without a checkpoint"


def test_a_study_on_a_full_disk_is_waited_for(
    system: SystemUnderTest,
    run_checker: RunChecker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=4 << 20) as disk:
        system.document["storage"] = {"study": f"sqlite:///{disk / 'study.db'}"}
        monkeypatch.setenv("TLC_STUDY", system.study_url)
        driver = system.start()
        system.wait_finished(2)
        ballast = fill(disk)
        unavailable = "the study's database is unavailable"
        wait_for("a pause", lambda: unavailable in system.output and is_paused(system))
        finished = system.finished()
        assert driver.poll() is None
        # Queries still work.
        assert len(system.query("trials", system.name)["trials"]) >= finished

        free_space(system, ballast)
        system.finish(driver)
        assert system.output.count(unavailable) < 4
        run_checker(system)
        assert finished < system.finished() == system.document["trials"]
    assert all(record["state"] == "COMPLETE" for record in system.events.committed())


def free_space(system: SystemUnderTest, ballast: Path) -> None:
    """Free the disk, and record the time until the same processes train again."""
    ballast.unlink()
    since = time.monotonic()
    system.wait_steps()
    system.recovered(time.monotonic() - since)


def is_paused(system: SystemUnderTest) -> bool:
    """Whether nothing is trained for three seconds."""
    try:
        before = len(system.events.steps())
        wait_for("a step", lambda: len(system.events.steps()) > before, seconds=3.0)
    except AssertionError:
        return True
    return False
