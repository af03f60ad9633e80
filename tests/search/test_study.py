"""The study is the record: every finished trial exactly once."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.study import StudyDirection

from search.hypervolume import Scale, hypervolume_history
from search.pareto import in_finish_order
from search.results.queries import StudyQueries
from search.storage.database import _connect, study_names
from search.storage.database_retry import retrying
from search.storage.errors import BusyStudy, DamagedStudy, StudyError, StudyUnavailable
from search.storage.lease_holder import local_lease
from search.storage.optuna_space import (
    configuration_from,
    distributions,
    parameters_from,
    point_from,
)
from search.storage.study import Study
from search.tracking.trial_run import milliseconds
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.disks import fill, small_disk
from tests.search.conftest import made_up_result


def test_a_result_is_recorded_once_even_if_reported_again(study: Study) -> None:
    number = study.ask().number
    assert study.tell_result(number, made_up_result(0.8, 0.1))
    assert not study.tell_result(number, made_up_result(0.1, 9.0))
    assert not study.tell_failure(number, "error", "late")
    (record,) = study.records()
    assert (record.state, record.result["score"]) == ("complete", 0.8)


def test_of_fifty_reports_at_once_one_is_recorded_with_all_its_values(
    study: Study, home: Path
) -> None:
    number = study.ask().number
    together = threading.Barrier(10)

    def report(thread: int) -> list[int]:
        own = Study.load("tiny", f"sqlite:///{home / 'study.db'}")
        together.wait()
        told = []
        for k in range(5):
            value = 10 * k + thread + 1
            result = made_up_result(value / 100, value / 10, model=f"models/{value}")
            if own.tell_result(number, result, [[value, 1.0]]):
                told.append(value)
        return told

    with ThreadPoolExecutor(10) as pool:
        told = [value for values in pool.map(report, range(10)) for value in values]
    (value,) = told
    (record,) = study.records()
    assert record.result == made_up_result(value / 100, value / 10, model=f"models/{value}")
    assert study.optuna.get_trials()[0].values == [value / 100, value / 10]
    assert study.curve(number) == [[value, 1.0]]


def test_the_order_in_which_trials_finished_does_not_depend_on_clocks(
    study: Study, home: Path
) -> None:
    numbers = [study.ask().number for _ in range(3)]
    for number in (2, 0, 1):
        study.tell_result(numbers[number], made_up_result(0.5 + 0.1 * number, 0.1))
    with sqlite3.connect(home / "study.db") as connection:
        # The search was resumed on a machine whose clock is an hour behind.
        connection.execute(
            "update trials set datetime_complete = datetime(datetime_complete, '-1 hour'), "
            "datetime_start = datetime(datetime_start, '+1 hour') where number > 0"
        )
    connection.close()
    records = study.records()
    assert [record.number for record in in_finish_order(records)] == [2, 0, 1]
    assert [record.order for record in records] == [2, 3, 1]
    history = hypervolume_history(records, study.search.criteria, Scale.of(study.space))
    assert history == sorted(history)
    assert history[0] == history[2] > 0


def test_the_fast_reading_agrees_with_optuna(study: Study) -> None:
    for accuracy in (0.6, 0.7):
        study.tell_result(study.ask().number, made_up_result(accuracy, 0.1), [[1, 2.0]])
    study.tell_failure(study.ask().number, "diverged", "the loss rose")
    study.ask()
    trials = study.optuna.get_trials()
    records = study.records()
    assert [r.number for r in records] == [t.number for t in trials]
    assert [r.state for r in records] == ["complete", "complete", "diverged", "running"]
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING"]
    for record, trial in zip(records, trials, strict=True):
        assert record.configuration.to_dict() == trial.user_attrs["configuration"]
        assert record.result == (trial.user_attrs.get("result") or {})
        assert record.started == _with_zone(trial.datetime_start)
        assert record.finished == _with_zone(trial.datetime_complete)
    assert study.curve(0) == [[1, 2.0]]


def _with_zone(moment: datetime | None) -> datetime | None:
    """A time of Optuna, which is local and without a zone."""
    return None if moment is None else moment.astimezone()


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that shows another time than UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "AWAY+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_times_are_right_whatever_the_local_time(study: Study, home: Path) -> None:
    before = datetime.now(UTC)
    study.tell_result(study.ask().number, made_up_result(0.8, 0.1))
    after = datetime.now(UTC)
    (record,) = study.records()
    assert record.started is not None
    assert record.finished is not None
    assert before <= record.started <= record.finished <= after
    trial = StudyQueries(f"sqlite:///{home / 'study.db'}").trial("tiny", 0)
    assert (trial.started, trial.finished) == (record.started, record.finished)
    since_1970 = milliseconds(record.finished)
    assert since_1970 is not None
    assert before.timestamp() - 0.001 <= since_1970 / 1000 <= after.timestamp()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_not_finite_is_a_failure(study: Study, value: float) -> None:
    study.tell_result(study.ask().number, made_up_result(value, 0.1))
    study.tell_result(study.ask().number, {**made_up_result(0.9, 0.1), "size_mb": value})
    assert [record.state for record in study.records()] == ["not_finite", "not_finite"]


def test_trials_of_a_dead_run_are_taken_over_and_its_late_reports_refused(
    study: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    first = study.ask()
    assert first.attempt == 1
    study.optuna.ask()  # The process died before it wrote a configuration.

    again = Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")
    (second,) = again.take_over_unfinished()
    assert (second.number, second.attempt) == (first.number, 2)
    assert second.configuration == first.configuration
    # The earlier process was not dead, but frozen.
    late = made_up_result(0.1, 9.0)
    assert not study.tell_result(first.number, late, attempt=first.attempt)
    assert not study.tell_failure(first.number, "error", "late", attempt=first.attempt)
    assert not again.record(first.number).is_finished
    assert again.tell_result(second.number, made_up_result(0.8, 0.1), attempt=second.attempt)
    assert not study.tell_result(first.number, late, attempt=first.attempt)
    (record,) = study.records()
    assert (record.result["score"], record.attempt) == (0.8, 2)
    assert again.take_over_unfinished() == []


def test_a_trial_without_a_written_configuration_is_run(
    study: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    died = study.optuna.ask(distributions(study.space))
    assert study.records() == []
    again = Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")
    (taken,) = again.take_over_unfinished()
    assert (taken.number, taken.attempt) == (died.number, 2)
    assert taken.configuration == configuration_from(study.space, died.params)
    assert again.tell_result(taken.number, made_up_result(0.8, 0.1), attempt=taken.attempt)
    assert [record.state for record in again.records()] == ["complete"]


def test_the_same_name_with_another_file_is_refused(
    study: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    with pytest.raises(StudyError, match=r"another seed, training\.batch_size"):
        Study.open(make_search(seed=5, training__batch_size=4), url)
    assert Study.open(make_search(trials=99), url).search.trials == 99


def test_changed_data_is_refused(study: Study) -> None:
    study.set_data({"fingerprint": "a"})
    study.set_data({"fingerprint": "a"})
    with pytest.raises(StudyError, match="has changed since its first trial"):
        study.set_data({"fingerprint": "b"})


def test_a_search_runs_in_one_process(tmp_path: Path) -> None:
    with local_lease("tiny", tmp_path):
        with (
            pytest.raises(StudyError, match="is running already"),
            local_lease("tiny", tmp_path),
        ):
            pass
        with local_lease("other", tmp_path):
            pass
    with local_lease("tiny", tmp_path):
        pass


def _cut(path: Path, share: float) -> None:
    os.truncate(path, round(share * path.stat().st_size))


def _overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "emptied": lambda path: _cut(path, 0),
    "cut in half": lambda path: _cut(path, 0.5),
    "last page cut": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "cut in the middle of a page": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "header flipped": lambda path: _overwrite(path, 5, b"x"),
    "no database": lambda path: path.write_text("hello\n") and None,
}


@pytest.fixture
def filled(study: Study) -> Study:
    """A study of six trials, nobody connected to it."""
    for k in range(6):
        curve = [[step, 2.0] for step in range(300)]
        study.tell_result(study.ask().number, made_up_result(0.5, 0.1 + k / 100), curve)
    study._storage.engine.dispose()
    return study


def test_a_damaged_study_is_refused_and_left_as_it_is(
    filled: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    for damage, do in DAMAGE.items():
        path = home / damage / "study.db"
        path.parent.mkdir()
        shutil.copy(home / "study.db", path)
        do(path)
        found = path.read_bytes()
        url = f"sqlite:///{path}"
        asking: list[Callable[[], Any]] = [
            partial(study_names, url),
            partial(Study.load, "tiny", url),
            partial(Study.open, make_search(trials=20), url),
            partial(StudyQueries(url).best, "tiny"),
        ]
        for ask in asking:
            with pytest.raises(DamagedStudy, match=r"study: '.*study\.db' is damaged: .* backup"):
                ask()
        assert path.read_bytes() == found


@pytest.mark.parametrize("zeros", [100, 4096])
def test_zeros_at_the_end_of_a_page_are_found_or_harmless(
    zeros: int, filled: Study, home: Path
) -> None:
    """An end that a page does not use may be anything."""
    path = home / "study.db"
    before = filled.records(), [filled.curve(k) for k in range(6)]
    filled._storage.engine.dispose()
    whole = path.read_bytes()
    damaged = home / "damaged.db"
    found = 0
    for end in range(4096, len(whole) + 1, 4096):
        damaged.write_bytes(whole[: end - zeros] + bytes(zeros) + whole[end:])
        try:
            study = Study.load("tiny", f"sqlite:///{damaged}")
            after = study.records(), [study.curve(k) for k in range(6)]
        except DamagedStudy:
            found += 1
            continue
        finally:
            _connect.cache_clear()
        assert after == before
    assert found > len(whole) // 4096 // 2


def test_damage_after_opening_is_reported(study: Study, home: Path) -> None:
    study.tell_result(study.ask().number, made_up_result(0.5, 0.1))
    with sqlite3.connect(home / "study.db") as connection:
        connection.execute(
            "update trial_user_attributes set value_json = substr(value_json, 1, 20) "
            "where key = 'result'"
        )
    connection.close()
    with pytest.raises(DamagedStudy, match="a value is no JSON"):
        study.records()
    (home / "study.db").unlink()
    study._storage.engine.dispose()
    with pytest.raises(StudyUnavailable, match="unable to open database file"):
        study.records()
    assert not (home / "study.db").exists()


def test_a_torn_write_is_rolled_back(study: Study, home: Path) -> None:
    told = study.ask().number
    study.tell_result(told, made_up_result(0.8, 0.1))
    script = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('pragma cache_size = 1')\n"
        "c.execute('update trial_user_attributes set value_json = hex(randomblob(20000))')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, home / "study.db"], check=False)
    assert killed.returncode == -9
    assert (home / "study.db-journal").stat().st_size
    (record,) = Study.load("tiny", f"sqlite:///{home / 'study.db'}").records()
    assert (record.number, record.result["score"]) == (told, 0.8)


def test_processes_that_make_the_same_study_at_once_share_it(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    url = f"sqlite:///{home / 'study.db'}"
    together = threading.Barrier(6)

    def start(seed: int) -> str:
        together.wait()
        try:
            Study.open(make_search(seed=seed), url)
        except BusyStudy as error:
            return str(error)
        return ""

    seeds = [1, 2, 1, 2, 1, 2]
    with ThreadPoolExecutor(6) as pool:
        refused = list(pool.map(start, seeds))
    first = Study.load("tiny", url).search.seed
    assert ["exists with another seed" in each for each in refused] == [s != first for s in seeds]
    assert study_names(url) == ["tiny"]


def test_writes_are_retried_on_a_full_disk_and_recorded_once(
    make_search: Callable[..., SearchFile], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        study = Study.open(make_search(), f"sqlite:///{disk / 'study.db'}")
        first, second = study.ask().number, study.ask().number
        ballast = fill(disk)
        result = made_up_result(0.8, 0.1, notes="x" * 50_000)
        with pytest.raises(StudyUnavailable, match="full"):
            study.tell_result(first, result)
        assert not study.record(first).is_finished
        timer = threading.Timer(2.0, ballast.unlink)
        timer.start()
        with retrying():
            assert study.tell_result(second, result)
            assert study.ask().number == 2
        timer.join()
        assert study.record(second).result == result
        study._storage.engine.dispose()
    assert "the study's database is unavailable" in caplog.text
    assert "is back after" in caplog.text


def test_a_study_that_cannot_be_opened_is_refused(make_search: Callable[..., SearchFile]) -> None:
    with pytest.raises(StudyError, match=r"storage\.study: .* cannot be opened"):
        Study.open(make_search(), "nonsense://x")


def test_constraints_are_recorded_for_optuna(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(constraints__max_size_mb=0.2, constraints__max_latency_ms=4.0)
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.tell_result(study.ask().number, made_up_result(0.8, 0.1))
    study.tell_result(study.ask().number, made_up_result(0.9, 0.4))
    first, second = study.optuna.get_trials()
    assert first.constraints == pytest.approx({"size_mb": -0.5, "latency_ms": -0.75})
    assert second.constraints == pytest.approx({"size_mb": 1.0, "latency_ms": 0.0})
    assert [trial.number for trial in study.optuna.best_trials] == [0]


def test_at_a_fixed_cost_the_score_is_the_only_objective(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(objectives=["accuracy"], constraints__max_size_mb=0.2)
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    assert study.optuna.directions == [StudyDirection.MAXIMIZE]
    for score, size in ((0.7, 0.1), (0.8, 0.1), (0.9, 0.4)):
        study.tell_result(study.ask().number, made_up_result(score, size))
    assert [trial.values for trial in study.optuna.get_trials()] == [[0.7], [0.8], [0.9]]
    # The last breaks the constraint.
    assert study.optuna.best_trial.number == 1


@pytest.mark.parametrize(
    ("task", "best"), [("classification", 1), ("translation", 1), ("causal-lm", 0)]
)
def test_the_direction_of_the_score_is_the_metrics(
    task: str, best: int, make_task_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_task_search(task, trials=20)
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    for score in (0.4, 0.6):
        made = made_up_result(score, 0.1, metric=search.metric.name)
        study.tell_result(study.ask().number, made)
    assert [trial.number for trial in study.optuna.best_trials] == [best]


def test_every_grid_point_survives_optunas_parameters(
    make_search: Callable[..., SearchFile],
) -> None:
    space = SearchSpace(make_search(space__sparsity={"low": 0.0, "high": 0.6, "step": 0.1}))
    grid = distributions(space)
    for point in space.points():
        parameters = parameters_from(space, point)
        assert point_from(space, parameters) == point
        for name, value in parameters.items():
            assert grid[name]._contains(grid[name].to_internal_repr(value))


def test_another_version_of_optuna_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, make_search: Any
) -> None:
    monkeypatch.setattr("spaces.errors.version", lambda name: "5.1.0")
    with pytest.raises(UserError, match=r"optuna 5\.0.* 5\.1\.0 is installed"):
        Study.open(make_search(), f"sqlite:///{home / 'study.db'}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "update alembic_version set version_num = 'v9.0.0.a'",
            r"schema v9\.0\.0\.a of Optuna's tables; tlc reads and writes schema v3\.2\.0\.a",
        ),
        (
            "alter table trial_values rename column value_type to kind",
            r"lacks trial_values\.value_type of schema v3\.2\.0\.a",
        ),
    ],
)
def test_tables_of_another_schema_are_refused_and_left_as_they_are(
    study: Study, home: Path, make_search: Callable[..., SearchFile], change: str, message: str
) -> None:
    path = home / "other.db"
    shutil.copy(home / "study.db", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
        before = list(connection.iterdump())
    with pytest.raises(StudyError, match=message):
        Study.open(make_search(trials=50), f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
