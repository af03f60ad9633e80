"""Fault 16: the same search twice at once, its name with another file, and fifty reports."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import yaml

from search.storage.study import Study
from tests.faults.arena import RUN_SECONDS, Arena
from tests.faults.conftest import Judge
from tests.faults.homes import share
from tests.waiting import wait_for


def test_two_that_start_a_search_at_once_are_one_search(arena: Arena, judge: Judge) -> None:
    elsewhere = share(arena)
    arena.document["trials"] = 4
    started = [arena.start(), arena.start(), arena.start(**elsewhere)]
    wait_for("two are refused", lambda: sum(each.poll() is not None for each in started) == 2)
    ended = [process for process in started if process.poll() is not None]
    assert [process.returncode for process in ended] == [2, 2]
    assert arena.output.count("is running already") == 2

    other = copy.deepcopy(arena.document)
    other["training"]["batch_size"] = 8
    (arena.folder / "other.yaml").write_text(yaml.safe_dump(other))
    # From a third place: either of the two may be where it runs.
    refused = arena.tlc("run", "other.yaml", TLC_HOME=str(arena.folder / "third"))
    assert refused.returncode == 2
    assert "exists with another training.batch_size" in refused.stderr

    (running,) = (process for process in started if process not in ended)
    arena.finish(running)
    judge(arena)
    assert arena.finished() == 4

    before = arena.witness.told()[0]
    changed = {**before["result"], "score": 0.999}

    def report(_: int) -> bool:
        study = Study.load(arena.name, arena.study_url)
        return study.tell_result(before["number"], changed)

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(report, range(50))) == [False] * 50
    judge(arena)


def test_two_that_submit_a_search_at_once_are_one_search(arena: Arena, judge: Judge) -> None:
    arena.document["trials"] = 2
    file = arena.write()
    submitted = [arena.start("submit", file) for _ in range(2)]
    assert sorted(process.wait(timeout=RUN_SECONDS) for process in submitted) == [0, 2]
    assert "is running already" in arena.output
    arena.wait_finished(2)
    follower = arena.tlc("logs", arena.name, "--follow")
    assert follower.returncode == 0
    assert arena.tlc("status", arena.name).stdout == "finished\n"
    judge(arena)
