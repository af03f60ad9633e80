"""Real searches with the real Ray, Optuna and MLflow, also when a signal stops them."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from objectives import artefact
from search.frontier import frontier
from search.study import Study
from tests.search.conftest import Tlc
from tests.waiting import wait_for


def finished_trials(tlc: Tlc) -> int:
    if not (tlc.folder / "home" / "study.db").exists():
        return 0
    try:
        return sum(record.is_finished for record in tlc.study().records())
    except Exception:
        return 0  # the driver is still making the tables


def test_a_search_ends_with_a_frontier_and_says_what_to_type_next(finished: Tlc) -> None:
    study = finished.study()
    records = study.records()
    assert [record.number for record in records] == list(range(8))
    assert all(record.is_complete for record in records)
    members = frontier(records, study.search)
    assert members
    assert members[-1].result["score_low"] > 0.5
    assert set(study.tests()) == {member.number for member in members}
    printed = (finished.folder / "run.txt").read_text()
    for expected in ("8/8", "hypervolume", "training shared between trials", "tlc best tiny"):
        assert expected in printed
    for name in ("frontier.html", "frontier.png"):
        assert (finished.folder / "home" / "reports" / "tiny" / name).stat().st_size > 10_000


def test_the_winning_model_can_be_taken_away(finished: Tlc) -> None:
    answer = json.loads(finished("best", "tiny", "--json").stdout)
    folder = Path(answer["location"])
    model = artefact.load(folder)
    assert sum(1 for _ in model.modules()) > 10
    assert answer["trial"]["result"]["size_bytes"] == artefact.bytes_on_disk(folder)


def test_a_finished_search_is_not_run_again(finished: Tlc) -> None:
    before = finished.study().records()
    again = finished("run", "search.yaml")
    assert again.returncode == 0
    assert "all 8 trials were there already" in again.stdout
    assert finished.study().records() == before


def test_a_frontier_that_a_dead_driver_had_not_scored_is_scored_by_the_next(
    finished: Tlc,
) -> None:
    before = finished.study().tests()
    with sqlite3.connect(finished.folder / "home" / "study.db") as connection:
        connection.execute("delete from study_user_attributes where key like 'tlc:test:%'")
    connection.close()
    assert finished.study().tests() == {}
    again = finished("run", "search.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "all 8 trials were there already" in again.stdout
    assert finished.study().tests() == before != {}


def test_figures_that_cannot_be_written_fail_no_search(finished: Tlc) -> None:
    reports = finished.folder / "home" / "reports"
    aside = reports.rename(reports.with_name("aside"))
    reports.touch()
    try:
        again = finished("run", "search.yaml")
    finally:
        reports.unlink()
        aside.rename(reports)
    assert again.returncode == 0
    assert "the figures were not written" in again.stdout
    assert "plot:" not in again.stdout
    assert "Traceback" not in again.stdout + again.stderr


@pytest.mark.usefixtures("mlflow_made")
def test_training_that_breaks_never_reaches_the_frontier(
    tlc: Tlc, document: dict[str, Any]
) -> None:
    training = {**document["training"], "learning_rate": 1e12}
    run = tlc("run", tlc.write(document, trials=3, training=training))
    assert run.returncode == 1, run.stderr
    records = tlc.study().records()
    assert len(records) == 3
    assert {record.state for record in records} <= {"not_finite", "diverged"}
    assert frontier(records, tlc.study().search) == []
    assert tlc("frontier", "tiny").returncode == 3


@pytest.mark.usefixtures("mlflow_made")
def test_a_stop_signal_keeps_what_is_finished(tlc: Tlc, document: dict[str, Any]) -> None:
    name = tlc.write(document, trials=30)
    driver = tlc.start("run", name)
    wait_for("two trials", lambda: finished_trials(tlc) >= 2, 120, every=0.1)
    # What a cluster sends; it is taken for Ctrl-C.
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) == 130
    printed = (tlc.folder / "out.txt").read_text()
    assert "interrupted after" in printed
    assert {record.state for record in tlc.study().records()} <= {"complete", "running"}
    assert "Traceback" not in printed
    assert finished_trials(tlc) >= 2


@pytest.fixture
def study(finished: Tlc) -> Study:
    return finished.study()


def test_sharing_is_recorded_on_each_trial(study: Study) -> None:
    results = [record.result for record in study.records()]
    assert all(r["steps"]["trained"] + r["steps"]["reused"] == r["steps"]["total"] for r in results)
    # Eight trials over four architectures cannot all be new.
    assert sum(r["steps"]["reused"] for r in results) > 0
    assert all(r["latency"]["repeats"] % 10 == 0 for r in results)
