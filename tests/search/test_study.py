"""The study is the record: every finished trial exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from search.driving import only_driver
from search.grid import distributions, parameters_from, point_from
from search.study import Study
from search.study_errors import StudyError
from spaces.search_file import SearchFile
from spaces.search_space import SearchSpace
from tests.search.conftest import made_up_result


def test_a_result_is_recorded_once_whoever_reports_it_again(study: Study) -> None:
    number = study.ask().number
    assert study.tell_result(number, made_up_result(0.8, 0.1))
    assert not study.tell_result(number, made_up_result(0.1, 9.0))
    assert not study.tell_failure(number, "error", "late")
    (record,) = study.records()
    assert (record.state, record.result["score"]) == ("complete", 0.8)


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
        assert record.started == trial.datetime_start
        assert record.finished == trial.datetime_complete
    assert study.curve(0) == [[1, 2.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_not_finite_is_a_failure(study: Study, value: float) -> None:
    study.tell_result(study.ask().number, made_up_result(value, 0.1))
    study.tell_result(study.ask().number, {**made_up_result(0.9, 0.1), "size_mb": value})
    assert [record.state for record in study.records()] == ["not_finite", "not_finite"]


def test_trials_of_a_dead_driver_are_taken_over_and_its_late_reports_refused(
    study: Study, make_search: Callable[..., SearchFile], home: Path
) -> None:
    first = study.ask()
    assert first.attempt == 1
    study.optuna.ask()  # The driver died before it wrote a configuration.

    again = Study.open(make_search(trials=20), f"sqlite:///{home / 'study.db'}")
    (second,) = again.unfinished()
    assert (second.number, second.attempt) == (first.number, 2)
    assert second.configuration == first.configuration
    # The driver was not dead, but frozen.
    late = made_up_result(0.1, 9.0)
    assert not study.tell_result(first.number, late, attempt=first.attempt)
    assert not study.tell_failure(first.number, "error", "late", attempt=first.attempt)
    assert not again.record(first.number).is_finished
    assert again.tell_result(second.number, made_up_result(0.8, 0.1), attempt=second.attempt)
    assert not study.tell_result(first.number, late, attempt=first.attempt)
    (record,) = study.records()
    assert (record.result["score"], record.attempt) == (0.8, 2)
    assert again.unfinished() == []


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


def test_a_search_has_one_driver(tmp_path: Path) -> None:
    with only_driver("tiny", tmp_path):
        with (
            pytest.raises(StudyError, match="is running already"),
            only_driver("tiny", tmp_path),
        ):
            pass
        with only_driver("other", tmp_path):
            pass
    with only_driver("tiny", tmp_path):
        pass


def test_a_study_that_cannot_be_opened_is_refused(make_search: Callable[..., SearchFile]) -> None:
    with pytest.raises(StudyError, match=r"storage\.study: .* cannot be opened"):
        Study.open(make_search(), "nonsense://x")


def test_constraints_are_told_to_optuna(make_search: Callable[..., SearchFile], home: Path) -> None:
    search = make_search(constraints__max_size_mb=0.2, constraints__max_latency_ms=4.0)
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.tell_result(study.ask().number, made_up_result(0.8, 0.1))
    study.tell_result(study.ask().number, made_up_result(0.9, 0.4))
    first, second = study.optuna.get_trials()
    assert first.constraints == pytest.approx({"size_mb": -0.5, "latency_ms": -0.75})
    assert second.constraints == pytest.approx({"size_mb": 1.0, "latency_ms": 0.0})
    assert [trial.number for trial in study.optuna.best_trials] == [0]


@pytest.mark.parametrize(
    ("task", "best"), [("classification", 1), ("translation", 1), ("causal-lm", 0)]
)
def test_optuna_knows_which_way_a_metric_is_better(
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
