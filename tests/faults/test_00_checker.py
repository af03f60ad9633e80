"""The checker finds every manipulation of a sound search."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import check
from tests.faults.system import SystemUnderTest


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    search_document: dict[str, Any],
    empty_mlflow: Path,
) -> Iterator[SystemUnderTest]:
    """A search without faults."""
    document = {**search_document, "trials": 5}
    system = SystemUnderTest(tmp_path_factory.mktemp("finished"), document, seed=0)
    system.home.mkdir()
    shutil.copy(empty_mlflow, system.home / "mlflow.db")
    system.finish()
    yield system
    system.close()


@pytest.fixture
def copied(finished: SystemUnderTest, tmp_path: Path) -> SystemUnderTest:
    """A copy that a test may damage."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    return SystemUnderTest(tmp_path, finished.document, seed=0)


def execute(system: SystemUnderTest, database: str, statement: str) -> None:
    with sqlite3.connect(system.home / f"{database}.db") as connection:
        assert connection.execute(statement).rowcount > 0


def a_model(system: SystemUnderTest) -> Path:
    (committed, *_) = system.events.committed()
    return system.store / str(committed["result"]["model"])


def drop_a_record(system: SystemUnderTest) -> None:
    execute(system, "study", "delete from trials where number = 2")


def change_a_result(system: SystemUnderTest) -> None:
    execute(
        system,
        "study",
        "update trial_user_attributes set value_json = replace(value_json, '\"score\": 1', "
        "'\"score\": 2') where key = 'result' and trial_id = 3",
    )


def double_a_record(system: SystemUnderTest) -> None:
    execute(
        system,
        "study",
        "insert into trials (number, study_id, state, datetime_start, datetime_complete) "
        "select number, study_id, state, datetime_start, datetime_complete from trials "
        "where number = 1",
    )


def double_a_run(system: SystemUnderTest) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(system.tracking_uri)
    run = system.mlflow_runs()[0]
    client.create_run(run.info.experiment_id, tags={"tlc.key": run.data.tags["tlc.key"]})


def drop_a_run(system: SystemUnderTest) -> None:
    from mlflow import MlflowClient

    MlflowClient(system.tracking_uri).delete_run(
        next(r for r in system.mlflow_runs() if r.data.tags["tlc.key"].endswith("/1")).info.run_id
    )


def swap_a_hash(system: SystemUnderTest) -> None:
    path = a_model(system) / "manifest.json"
    manifest = json.loads(path.read_text())
    first, second, *_ = manifest["files"]
    files = manifest["files"]
    files[first], files[second] = files[second], files[first]
    path.write_text(json.dumps(manifest))


def flip_a_byte(system: SystemUnderTest) -> None:
    path = next(a_model(system).glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def repeat_a_step(system: SystemUnderTest) -> None:
    step = system.events.steps()[0]
    with system.events.path.open("a") as file:
        file.write(f"{step.path} {step.number} 1\n")


def promote_a_dominated_trial(system: SystemUnderTest) -> None:
    execute(
        system,
        "mlflow",
        "update tags set value = 'true' where key = 'on_frontier' and value = 'false'",
    )


MANIPULATIONS: dict[str, tuple[Callable[[SystemUnderTest], None], str]] = {
    "a dropped record": (drop_a_record, "lost"),
    "a changed result": (change_a_result, "lost"),
    "a doubled record": (double_a_record, "doubled"),
    "a doubled run in MLflow": (double_a_run, "doubled"),
    "a run that MLflow lacks": (drop_a_run, "lost"),
    "a swapped hash": (swap_a_hash, "lost"),
    "a flipped byte": (flip_a_byte, "lost"),
    "a step done again": (repeat_a_step, "excess"),
    "a beaten trial on the frontier": (promote_a_dominated_trial, "false"),
}


def test_a_sound_search_passes(finished: SystemUnderTest) -> None:
    score = check(finished)
    assert score.is_clean, score.problems


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_found(copied: SystemUnderTest, name: str) -> None:
    manipulate, kind = MANIPULATIONS[name]
    manipulate(copied)
    score = check(copied)
    assert getattr(score, kind) > 0, score
