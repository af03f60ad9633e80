"""A start that is refused leaves the study as it was: its space, its limits, its trials."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from objectives.data.batch_lengths import batch_lengths
from objectives.data.prepare import prepare
from search.analysis.claims.missing_trials import run_missing_trials
from search.execution.listener import Listener
from search.execution.run import run, search_at
from search.functions.run import run_function
from search.storage.budget_facts import described_data
from search.storage.function_study import FunctionStudy
from search.storage.lease import lease_of
from search.storage.lease_holder import holding_lease
from search.storage.study import Study
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.file.storage import Locations
from spaces.functions.points import FunctionSpace
from spaces.functions.search import read_function_search
from spaces.loading import validate, with_facts
from tests.search.conftest import CPUS, connected_to_ray, made_up_result


@pytest.fixture(scope="module", autouse=True)
def connected() -> Iterator[None]:
    """The searches below start no Ray of their own."""
    with connected_to_ray():
        yield


@pytest.fixture
def inputs(document: dict[str, Any], corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """The document of a search, with files that a test may change."""
    shutil.copytree(corpus, tmp_path / "corpus")
    labelled = document["data"]["labelled"]
    own = {key: str(tmp_path / "corpus" / Path(labelled[key]).name) for key in SPLITS}
    return {**document, "data": {**document["data"], "labelled": {**labelled, **own}}}


SPLITS = ("train", "validation", "test")

Refusal = tuple[str, Callable[[dict[str, Any], Path], dict[str, Any]]]
"""What the message says, and what brings it about: returns the document that is refused."""


def _changed_data(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    with (folder / "corpus" / "train.tsv").open("a") as file:
        file.write("the old cat sees a further row\tanimal\n")
    return document


def _missing_data(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "corpus" / "dev.tsv").unlink()
    return document


def _too_small_a_cluster(document: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**document, "resources": {"cpus": CPUS + 1}}


def _another_cluster(document: dict[str, Any], _: Path) -> dict[str, Any]:
    return {**document, "address": "127.0.0.1:1"}


def _store_of_its_own(document: dict[str, Any], _: Path) -> dict[str, Any]:
    # Each process has another folder there.
    address = ray.get_runtime_context().gcs_address
    return {**document, "address": address, "storage": {"store": "/proc/self/cwd/store"}}


REFUSALS: dict[str, Refusal] = {
    "changed data": ("data of search 'tiny' has changed", _changed_data),
    "missing data": ("dev.tsv", _missing_data),
    "too small a cluster": ("a trial asks for 3 on one node", _too_small_a_cluster),
    "another cluster": ("connected to another Ray cluster", _another_cluster),
    "a node without the store": ("is not the store that the driver uses", _store_of_its_own),
}

CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "the same file": lambda document: document,
    "further trials": lambda document: {**document, "trials": 50, "hours": 3.0},
    "a wider space": lambda document: {
        **document, "space": {**document["space"], "depth": {"low": 1, "high": 3}},
    },
}  # fmt: skip


def _stopped(search: SearchFile, where: Locations) -> Study:
    """A search that was stopped, with a trial that is complete, one that was running, and one that
    is enqueued."""
    data = prepare(search.data, search.task, where.data)
    assert data.majority is not None
    study = Study.open(with_facts(search, majority=data.majority), where.study_url)
    lengths = batch_lengths(data, search.task.name, search.training.batch_size)
    study.set_data(described_data({"": data}, {"": lengths}))
    assert study.study_id
    study.tell_result(study.ask().number, made_up_result(0.8, 0.1))
    study.ask()
    study.optuna.enqueue_trial(study.optuna.trials[0].params)
    with holding_lease(study) as holder:
        holder.end("stopped", "made up")
    return study


def _rows(path: Path) -> list[str]:
    """All that a database holds, without the lease."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if "'tlc:lease'" not in line]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.usefixtures("mlflow_made")
def test_a_refused_start_changes_nothing(
    refusal: str,
    change: str,
    inputs: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "home" / "study.db"
    search = validate(inputs)
    study = _stopped(search, Locations.of(search.storage))
    message, brought_about = REFUSALS[refusal]
    refused = brought_about(CHANGES[change](inputs), tmp_path)
    before = _rows(path)
    with pytest.raises(UserError, match=message):
        run(validate(refused), Listener())
    assert _rows(path) == before
    lease = lease_of(study.attributes)
    assert lease is not None
    assert (lease.state, lease.ended) == ("stopped", "made up")


@pytest.mark.usefixtures("mlflow_made")
def test_trials_are_not_taken_over_and_those_of_the_claims_not_enqueued_where_none_can_run(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "home"))
    search = validate(_too_small_a_cluster(inputs, tmp_path))
    where = Locations.of(search.storage)
    study = _stopped(search, where)
    before = _rows(tmp_path / "home" / "study.db")
    run_claims = partial(run_missing_trials, study, where.study_url)
    for start in (partial(run, search_at(study, where.study_url)), run_claims):
        with pytest.raises(UserError, match="a trial asks for 3 on one node"):
            start(Listener())
        assert _rows(tmp_path / "home" / "study.db") == before


@pytest.mark.usefixtures("mlflow_made")
def test_a_search_with_a_function_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_HOME", str(tmp_path / "home"))
    document: dict[str, Any] = {
        "name": "mine",
        "space": {"depth": {"low": 1, "high": 4}},
        "objectives": {"accuracy": "maximize"},
        "trials": 4,
    }
    space = FunctionSpace(read_function_search(document))
    study = FunctionStudy.open(space, Locations.of(space.search.storage).study_url)
    study.tell_result(study.ask().number, {"score": 0.5, "seconds": 1.0})
    study.ask()
    before = _rows(tmp_path / "home" / "study.db")
    wider = {"space": {"depth": {"low": 1, "high": 8}}, "trials": 50}
    for changed in ({}, wider):
        refused = read_function_search({**document, **changed, "resources": {"cpus": CPUS + 1}})
        with pytest.raises(UserError, match="a trial asks for 3 on one node"):
            run_function(refused, lambda trial: {"accuracy": trial.depth / 8}, Listener())
        assert _rows(tmp_path / "home" / "study.db") == before
