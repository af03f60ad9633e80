"""A real search with the real Ray, Optuna and MLflow, and what starting it again does."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.compression import model_file
from search.analysis.claims.missing_trials import missing_trials
from search.execution.listener import Listener
from search.execution.run import run
from search.pareto import frontier
from search.replay.replay import replay
from search.replay.row_samplers import FrontierRowSampler
from search.replay.table import COLUMNS, ERROR, Table
from search.storage.database import study_names
from search.storage.lease import request_stop
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.loading import validate
from tests.search.conftest import CPUS, Tlc, connected_to_ray, mlflow_runs

TWO_POINTS = {
    "depth": 1,
    "width": 32,
    "budget": {"unit": "steps", "choices": [20]},
    "quantisation": {"choices": ["none", "rtn-8"]},
}


def test_a_search_ends_with_a_frontier_and_says_what_to_type_next(finished: Tlc) -> None:
    study = finished.study()
    records = study.records()
    assert [record.number for record in records] == list(range(8))
    assert all(record.is_complete for record in records)
    members = frontier(records, study.search.criteria)
    assert members
    assert members[-1].result["score_low"] > 0.5
    final = [*members, *study.repeats()]
    assert set(study.tests()) >= {record.number for record in final}
    printed = (finished.folder / "run.txt").read_text()
    for expected in (
        "8/8",
        "references: majority class accuracy 0.500",
        "hypervolume",
        "training shared between trials",
        "tlc best tiny",
    ):
        assert expected in printed
    for name in ("frontier.html", "frontier.png"):
        assert (finished.folder / "home" / "reports" / "tiny" / name).stat().st_size > 10_000


def test_what_is_on_the_frontier_is_trained_with_a_further_seed_and_tested(
    finished: Tlc,
) -> None:
    study = finished.study()
    records, repeats = study.records_and_repeats()
    members = frontier(records, study.search.criteria)
    second = {each.repeats: each for each in repeats if each.configuration.seed == 1}
    assert second.keys() == {member.number for member in members}
    for member in members:
        repeat = second[member.number]
        assert repeat.configuration == member.configuration.with_seed(1)
        assert repeat.result["size_bytes"] == pytest.approx(member.result["size_bytes"], rel=0.01)
        # Another training, on the same data.
        assert repeat.result["checkpoint"] != member.result["checkpoint"]
        assert repeat.result["dense_loss"] != member.result["dense_loss"]
        assert repeat.result["data_fingerprint"] == member.result["data_fingerprint"]
    printed = (finished.folder / "run.txt").read_text()
    assert f"1/{len(members)}" in printed
    assert "seed 1" in printed
    assert "further seeds: mean ± standard deviation" in printed


def test_a_users_modules_named_as_tlcs_packages_are_not_imported(finished: Tlc) -> None:
    """By the command, by Ray's workers: the search ran beside them."""
    assert (finished.folder / "search.py").exists()
    assert all(record.is_complete for record in finished.study().records())
    # The test split is scored by a Ray task.
    assert finished.study().tests()


def test_the_winning_model_can_be_taken_away(finished: Tlc) -> None:
    answer = json.loads(finished.ask("best", "tiny", "--json").stdout)
    folder = Path(answer["location"])
    model = model_file.load(folder)
    assert sum(1 for _ in model.modules()) > 10
    assert answer["trial"]["result"]["size_bytes"] == model_file.bytes_on_disk(folder)


def test_a_finished_search_is_not_run_again(finished: Tlc) -> None:
    before = finished.study().records()
    again = finished.ask("run", "search.yaml")
    assert again.returncode == 0
    assert "all 8 trials were already done" in again.stdout
    assert finished.study().records() == before


def test_a_real_search_is_in_mlflow_when_it_ends(finished: Tlc) -> None:
    where = Locations.of(finished.study().search.storage)
    uri = f"sqlite:///{finished.folder / 'home' / 'mlflow.db'}"
    parent, nested = mlflow_runs(replace(where, tracking_uri=uri), "tiny")
    assert parent.info.status == "FINISHED"
    records, repeats = finished.study().records_and_repeats()
    assert sorted(map(int, nested)) == list(range(8 + len(repeats)))
    for record in (*records, *repeats):
        run = nested[str(record.number)]
        assert run.data.metrics["accuracy"] == record.result["score"]
        assert run.info.status == "FINISHED"


def test_a_finished_search_is_a_table(finished: Tlc, tmp_path: Path) -> None:
    printed = finished.ask("table", "tiny")
    assert printed.returncode == 0, printed.stderr
    path = tmp_path / "tiny.csv"
    path.write_text(printed.stdout)
    table = Table.read(path)
    assert tuple(printed.stdout.splitlines()[0].split(",")) == (*COLUMNS, ERROR)
    assert 1 < len(table) <= 8
    assert (table.columns["train_seconds_cooldown"] > 0).all()
    made = replay(table, FrontierRowSampler(table, 0), workers=1, sharing=True)
    assert made.hypervolume[-1] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def connected() -> Iterator[None]:
    """The searches below start no Ray of their own."""
    with connected_to_ray():
        yield


@pytest.mark.usefixtures("connected")
def test_confirm_trains_the_best_with_more_seeds_and_resumes_the_test_of_the_frontier(
    finished: Tlc,
) -> None:
    """And figures that cannot be written fail nothing."""
    study = finished.study()
    before, records = study.tests(), study.records()
    ended = json.loads(finished.ask("show", "tiny", "--json").stdout)["ended"]
    cheapest = frontier(records, study.search.criteria)[0]
    with sqlite3.connect(finished.folder / "home" / "study.db") as connection:
        connection.execute("delete from study_user_attributes where key like 'tlc:test:%'")
    connection.close()
    assert finished.study().tests() == {}
    reports = finished.folder / "home" / "reports"
    aside = reports.rename(reports.with_name("aside"))
    reports.touch()
    limit = f"{cheapest.result['size_mb'] * 1.001}"
    try:
        confirmed = finished.ask("confirm", "tiny", "--seeds", "3", "--max-size-mb", limit)
    finally:
        reports.unlink()
        aside.rename(reports)
    assert confirmed.returncode == 0, confirmed.stdout + confirmed.stderr
    study = finished.study()
    assert study.records() == records
    seeds = [r.configuration.seed for r in study.repeats() if r.repeats == cheapest.number]
    assert sorted(seeds) == [1, 2]
    assert study.tests().items() >= before.items() != {}
    assert study.tests().keys() >= {repeat.number for repeat in study.repeats()}
    # How the search ended has not changed.
    shown = json.loads(finished.ask("show", "tiny", "--json").stdout)
    assert (shown["state"], shown["ended"]) == ("finished", ended)
    assert "trained with 2 other seeds" in confirmed.stdout or "1 to 2 other" in confirmed.stdout
    assert "the figures were not written" in confirmed.stdout
    assert "Traceback" not in confirmed.stdout + confirmed.stderr


class StopsAfterOneTrial(Listener):
    """Asks a search to stop when its first trial has ended, and waits until it is to stop."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._stopping = threading.Event()

    def changed(self, record: TrialRecord) -> None:
        if record.is_finished and not self._stopping.is_set():
            request_stop(self._study)
            assert self._stopping.wait(30)

    def must_stop(self) -> None:
        self._stopping.set()


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_made", "connected")
def test_the_test_split_is_read_when_the_search_is_done_and_not_when_it_is_interrupted(
    tlc: Tlc, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_HOME", str(tlc.folder / "home"))
    search = validate({**document, "space": TWO_POINTS, "trials": 2, "concurrency": 1})
    study = Study.open(search, tlc.study_url)
    stopped = run(search, StopsAfterOneTrial(study))
    assert (stopped.interrupted, stopped.was_asked) == (True, True)
    assert sum(record.is_complete for record in study.records()) == 1
    assert tlc.study().tests() == {}
    for command in ("best", "frontier", "show"):
        assert "not tested yet" in tlc.ask(command, "tiny").stdout, command
    assert not run(search, Listener()).interrupted
    members = frontier(study.records(), study.criteria)
    assert tlc.study().tests().keys() == {member.number for member in members}
    assert "not tested yet" not in tlc.ask("frontier", "tiny").stdout


@pytest.mark.usefixtures("mlflow_made")
def test_a_search_whose_trials_all_failed_has_no_frontier_and_ends_with_an_error(
    tlc: Tlc, document: dict[str, Any], make_search: Callable[..., SearchFile]
) -> None:
    name = tlc.write(document, trials=2)
    study = Study.open(make_search(trials=2), tlc.study_url)
    for state in ("not_finite", "diverged"):
        study.tell_failure(study.ask().number, state, "made up")
    ran = tlc.ask("run", name)
    assert ran.returncode == 1, ran.stderr
    assert "all 2 trials were already done" in ran.stdout
    assert tlc.ask("frontier", "tiny").returncode == 3


@pytest.mark.usefixtures("mlflow_made", "connected")
def test_resources_that_no_node_has_are_refused_and_all_are_named(
    tlc: Tlc, document: dict[str, Any]
) -> None:
    log = tlc.folder / "steps.log"
    larger = {"from_parameters": 1, "cpus": CPUS, "workers": 2}
    resources = json.dumps({"cpus": 1000, "larger_models": [larger]})
    file = tlc.write(document)
    ran = tlc.ask("run", file, f"--set=resources={resources}", TLC_STEP_LOG=str(log))
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "resources.cpus: a trial asks for 1000" in ran.stderr
    assert "resources.larger_models.0.workers: a model asks for 2" in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not log.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_made", "connected")
def test_missing_trials_run_in_the_given_study_and_leave_its_file_unchanged(
    tlc: Tlc, document: dict[str, Any]
) -> None:
    # A second worker process would take most of the time of this test.
    fields = {"trials": 1, "hours": 0.5, "sampler": "random", "concurrency": 1}
    search = validate({**document, "space": TWO_POINTS, **fields})
    elsewhere = f"sqlite:///{tlc.folder / 'elsewhere.db'}"
    lacking = len(missing_trials(Study.open(search, elsewhere).space, []))
    assert lacking == 2
    ran = tlc.ask("claims", "tiny", "--complete", "--study", elsewhere)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    study = Study.load("tiny", elsewhere)
    assert [record.state for record in study.records()] == ["complete"] * lacking
    assert (study.search.trials, study.search.hours) == (1, 0.5)
    assert "tiny" not in study_names(tlc.study_url)


@pytest.fixture
def study(finished: Tlc) -> Study:
    return finished.study()


def test_sharing_is_recorded_on_each_trial(study: Study) -> None:
    results = [record.result for record in study.records()]
    assert all(r["steps"]["trained"] + r["steps"]["reused"] == r["steps"]["total"] for r in results)
    # Eight trials over four architectures cannot all be new.
    assert sum(r["steps"]["reused"] for r in results) > 0
    assert all(r["latency"]["repeats"] >= 10 for r in results)
