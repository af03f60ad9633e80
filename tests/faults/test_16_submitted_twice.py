"""Fault 16: two concurrent starts of a search, another file with its name, and fifty reports."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import yaml

from search.storage.study import Study
from tests.faults.conftest import RunChecker
from tests.faults.shared_storage import share
from tests.faults.system import RUN_SECONDS, SystemUnderTest
from tests.waiting import wait_for


def test_two_concurrent_runs_are_one_search(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    elsewhere = share(system)
    system.document["trials"] = 4
    started = [system.start(), system.start(), system.start(**elsewhere)]
    wait_for("two are refused", lambda: sum(each.poll() is not None for each in started) == 2)
    ended = [process for process in started if process.poll() is not None]
    assert [process.returncode for process in ended] == [2, 2]
    assert system.output.count("is running already") == 2

    other = copy.deepcopy(system.document)
    other["training"]["batch_size"] = 8
    (system.folder / "other.yaml").write_text(yaml.safe_dump(other))
    # From a third home: either of the two may run it.
    refused = system.tlc("run", "other.yaml", TLC_HOME=str(system.folder / "third"))
    assert refused.returncode == 2
    assert "exists with another training.batch_size" in refused.stderr

    (running,) = (process for process in started if process not in ended)
    system.finish(running)
    run_checker(system)
    assert system.finished() == 4

    before = system.events.committed()[0]
    changed = {**before["result"], "score": 0.999}

    def report(_: int) -> bool:
        study = Study.load(system.name, system.study_url)
        return study.tell_result(before["number"], changed)

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(report, range(50))) == [False] * 50
    run_checker(system)


def test_two_concurrent_submissions_are_one_search(
    system: SystemUnderTest, run_checker: RunChecker
) -> None:
    system.document["trials"] = 2
    file = system.write()
    submitted = [system.start("submit", file) for _ in range(2)]
    assert sorted(process.wait(timeout=RUN_SECONDS) for process in submitted) == [0, 2]
    assert "is running already" in system.output
    system.wait_finished(2)
    follower = system.tlc("logs", system.name, "--follow")
    assert follower.returncode == 0
    assert system.tlc("status", system.name).stdout == "finished\n"
    run_checker(system)
