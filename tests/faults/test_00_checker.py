"""The checker itself: what it is shown broken, it must find."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.arena import Arena
from tests.faults.checker import check


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    search_document: dict[str, Any],
    empty_mlflow: Path,
) -> Iterator[Arena]:
    """A search that nothing happened to."""
    document = {**search_document, "trials": 5}
    arena = Arena(tmp_path_factory.mktemp("finished"), document, seed=0)
    arena.home.mkdir()
    shutil.copy(empty_mlflow, arena.home / "mlflow.db")
    arena.finish()
    yield arena
    arena.close()


@pytest.fixture
def copied(finished: Arena, tmp_path: Path) -> Arena:
    """A copy of it, to be broken."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    return Arena(tmp_path, finished.document, seed=0)


def execute(arena: Arena, database: str, statement: str) -> None:
    with sqlite3.connect(arena.home / f"{database}.db") as connection:
        assert connection.execute(statement).rowcount > 0


def a_model(arena: Arena) -> Path:
    (told, *_) = arena.witness.told()
    return arena.store / str(told["result"]["model"])


def drop_a_record(arena: Arena) -> None:
    execute(arena, "study", "delete from trials where number = 2")


def change_a_result(arena: Arena) -> None:
    execute(
        arena,
        "study",
        "update trial_user_attributes set value_json = replace(value_json, '\"score\": 1', "
        "'\"score\": 2') where key = 'result' and trial_id = 3",
    )


def double_a_record(arena: Arena) -> None:
    execute(
        arena,
        "study",
        "insert into trials (number, study_id, state, datetime_start, datetime_complete) "
        "select number, study_id, state, datetime_start, datetime_complete from trials "
        "where number = 1",
    )


def double_a_run(arena: Arena) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(arena.tracking_uri)
    run = arena.mlflow_runs()[0]
    client.create_run(run.info.experiment_id, tags={"tlc.key": run.data.tags["tlc.key"]})


def drop_a_run(arena: Arena) -> None:
    from mlflow import MlflowClient

    MlflowClient(arena.tracking_uri).delete_run(
        next(r for r in arena.mlflow_runs() if r.data.tags["tlc.key"].endswith("/1")).info.run_id
    )


def swap_a_hash(arena: Arena) -> None:
    path = a_model(arena) / "manifest.json"
    manifest = json.loads(path.read_text())
    first, second, *_ = manifest["files"]
    files = manifest["files"]
    files[first], files[second] = files[second], files[first]
    path.write_text(json.dumps(manifest))


def flip_a_byte(arena: Arena) -> None:
    path = next(a_model(arena).glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def repeat_a_step(arena: Arena) -> None:
    step = arena.witness.steps()[0]
    with arena.witness.path.open("a") as file:
        file.write(f"{step.path} {step.number} 1\n")


def promote_the_beaten(arena: Arena) -> None:
    execute(
        arena,
        "mlflow",
        "update tags set value = 'true' where key = 'on_frontier' and value = 'false'",
    )


SABOTAGE: dict[str, tuple[Callable[[Arena], None], str]] = {
    "a dropped record": (drop_a_record, "lost"),
    "a changed result": (change_a_result, "lost"),
    "a doubled record": (double_a_record, "doubled"),
    "a doubled run in MLflow": (double_a_run, "doubled"),
    "a run that MLflow lacks": (drop_a_run, "lost"),
    "a swapped hash": (swap_a_hash, "lost"),
    "a flipped byte": (flip_a_byte, "lost"),
    "a step done again": (repeat_a_step, "excess"),
    "a beaten trial on the frontier": (promote_the_beaten, "false"),
}


def test_a_sound_search_passes(finished: Arena) -> None:
    score = check(finished)
    assert score.is_clean, score.problems


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_is_found(copied: Arena, name: str) -> None:
    sabotage, kind = SABOTAGE[name]
    sabotage(copied)
    score = check(copied)
    assert getattr(score, kind) > 0, score
