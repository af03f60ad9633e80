"""Fault 12: the disk of the store, or of the study, is full, and later has space again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from objectives.store.manifest import CHECKPOINTS, MODELS
from objectives.store.store import Store
from tests.disks import fill, small_disk
from tests.faults.arena import Arena
from tests.faults.conftest import Judge
from tests.faults.stored import staged
from tests.waiting import wait_for


def test_a_full_disk_pauses_the_search_and_room_lets_it_go_on(
    arena: Arena, judge: Judge, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=64 << 20) as disk:
        arena.document["storage"] = {"store": str(disk / "store")}
        driver = arena.start()
        arena.wait_finished(2)
        ballast = fill(disk)
        wait_for("a pause", lambda: "paused: no space for" in arena.output and is_paused(arena))
        finished = arena.finished()

        assert driver.poll() is None
        store = Store(str(arena.store))
        entries = [*store.entries(CHECKPOINTS), *store.entries(MODELS)]
        assert entries
        assert all(entry.matches(arena.store / entry.address) for entry in entries)

        make_room(arena, ballast)
        wait_for("the end of the pause", lambda: "resumed" in arena.output)
        arena.finish(driver)
        judge(arena)
        assert staged(arena.store) == [], "what had no space is not left half-written"
        assert finished < arena.finished() == arena.document["trials"]
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())
    done = Counter((step.path, step.number) for step in arena.witness.steps())
    assert set(done.values()) == {1}, "no step is trained twice, not even one without a checkpoint"


def test_a_study_on_a_full_disk_is_waited_for(
    arena: Arena, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=4 << 20) as disk:
        arena.document["storage"] = {"study": f"sqlite:///{disk / 'study.db'}"}
        monkeypatch.setenv("TLC_STUDY", arena.study_url)
        driver = arena.start()
        arena.wait_finished(2)
        ballast = fill(disk)
        wait_for("a pause", lambda: "the study's database is unavailable" in arena.output)
        assert is_paused(arena)
        finished = arena.finished()
        assert driver.poll() is None
        # Who only asks is answered.
        assert len(arena.answer("trials", arena.name)["trials"]) >= finished

        make_room(arena, ballast)
        arena.finish(driver)
        assert arena.output.count("the study's database is unavailable") < 4
        judge(arena)
        assert finished < arena.finished() == arena.document["trials"]
    assert all(record["state"] == "COMPLETE" for record in arena.witness.told())


def make_room(arena: Arena, ballast: Path) -> None:
    """Empty the disk, and note how long it takes until the same processes train again."""
    ballast.unlink()
    since = time.monotonic()
    arena.wait_steps()
    arena.recovered(time.monotonic() - since)


def is_paused(arena: Arena) -> bool:
    """Whether nothing is trained for three seconds."""
    try:
        before = len(arena.witness.steps())
        wait_for("a step", lambda: len(arena.witness.steps()) > before, seconds=3.0)
    except AssertionError:
        return True
    return False
