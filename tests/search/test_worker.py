"""What a worker does with a trial that goes wrong."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objectives import objective
from objectives.data.prepare import prepare
from objectives.failures import TrialFailure
from objectives.measurement import latency_cache
from objectives.store.store import Store
from search.execution import trainable as worker
from search.execution.trainable import evaluate
from search.execution.worker_setup import WorkerSetup
from search.process_state import collection_paused
from spaces.cost.compression import Compression
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace


@pytest.fixture
def arguments(make_search: Callable[..., SearchFile], home: Path) -> tuple[WorkerSetup, Any]:
    search = make_search(name=home.parent.name[:60])
    data = prepare(search.data, search.task, home / "data")
    space = SearchSpace(search)
    point = space.configuration((0,) * len(space.dimensions))
    return WorkerSetup(search.model_dump_json(), (str(data.folder),)), [point.to_dict()]


def break_measuring(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int
) -> list[Exception]:
    real, raised = latency_cache.measure_latency, []

    def measure(*positional: Any, **named: Any) -> Any:
        if len(raised) < times:
            raised.append(error)
            raise error
        return real(*positional, **named)

    monkeypatch.setattr(latency_cache, "measure_latency", measure)
    return raised


def break_compressing(
    monkeypatch: pytest.MonkeyPatch, broken: Compression, error: Exception
) -> list[Compression]:
    """Fail at one compression; returns those that are tried, as they come."""
    real, tried = objective.compress, []

    def compress(*positional: Any, **named: Any) -> Any:
        tried.append(positional[1].compression)
        if tried[-1] == broken:
            raise error
        return real(*positional, **named)

    monkeypatch.setattr(objective, "compress", compress)
    return tried


def test_an_unexpected_error_is_retried_once_from_the_checkpoint(
    arguments: tuple[WorkerSetup, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_measuring(monkeypatch, RuntimeError("a bad day"), times=1)
    (outcome,) = evaluate(*arguments)
    assert outcome["state"] == "complete"
    assert outcome["result"]["steps"]["trained"] == 0
    assert outcome["curve"]


def test_a_repeated_error_is_a_named_state(
    arguments: tuple[WorkerSetup, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = break_measuring(monkeypatch, RuntimeError("a bad day"), times=9)
    (outcome,) = evaluate(*arguments)
    assert outcome["state"] == "error"
    assert outcome["message"] == "RuntimeError: a bad day"
    assert outcome["traceback"].startswith("Traceback")
    assert outcome["traceback"].endswith("RuntimeError: a bad day")
    assert len(raised) == 2


def test_a_failure_with_a_name_is_not_retried(
    arguments: tuple[WorkerSetup, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = break_measuring(monkeypatch, TrialFailure("bad_latency", "0 ms"), times=9)
    assert list(evaluate(*arguments)) == [
        {"state": "bad_latency", "message": "0 ms", "traceback": "", "latency": None, "damaged": []}
    ]
    assert len(raised) == 1


def test_compressions_of_one_model_train_and_load_it_once(
    arguments: tuple[WorkerSetup, Any], make_search: Callable[..., SearchFile]
) -> None:
    setup, _ = arguments
    space = SearchSpace(make_search())
    compressions = len(space.definition.sparsity.values)
    points = [space.configuration((0, 0, 0, 0, 0, 0, k, 0)) for k in range(compressions)]
    outcomes = list(evaluate(setup, [point.to_dict() for point in points]))
    trained = [outcome["result"]["steps"]["trained"] for outcome in outcomes]
    assert trained == [60, 0]
    assert [outcome["result"]["seconds"]["train"] > 0 for outcome in outcomes] == [True, False]


def test_the_first_that_succeeds_carries_what_the_training_took(
    arguments: tuple[WorkerSetup, Any],
    make_search: Callable[..., SearchFile],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, _ = arguments
    space = SearchSpace(make_search(space__quantisation__choices=["none", "rtn-8", "rtn-4"]))
    points = [space.configuration((0, 0, 0, q, 0, 0, 0, 0)) for q in range(3)]
    failure = TrialFailure("not_smaller", "too large")
    break_compressing(monkeypatch, points[0].compression, failure)
    outcomes = list(evaluate(setup, [point.to_dict() for point in points]))
    assert outcomes[0]["state"] == "not_smaller"
    steps = [outcome["result"]["steps"] for outcome in outcomes[1:]]
    assert [(each["trained"], each["reused"]) for each in steps] == [(60, 0), (0, 60)]
    assert [outcome["result"]["seconds"]["train"] > 0 for outcome in outcomes[1:]] == [True, False]


def test_a_failure_in_the_middle_of_a_job_fails_one_trial(
    arguments: tuple[WorkerSetup, Any],
    make_search: Callable[..., SearchFile],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, _ = arguments
    space = SearchSpace(make_search(space__quantisation__choices=["none", "rtn-8", "rtn-4"]))
    points = [space.configuration((0, 0, 0, q, 0, 0, 0, 0)) for q in range(3)]
    tried = break_compressing(monkeypatch, points[1].compression, RuntimeError("a bad day"))
    outcomes = list(evaluate(setup, [point.to_dict() for point in points]))
    assert [outcome["state"] for outcome in outcomes] == ["complete", "error", "complete"]
    assert [tried.count(point.compression) for point in points] == [1, 2, 1]


def test_a_model_that_cannot_be_scored_fails_no_other(
    arguments: tuple[WorkerSetup, Any], home: Path
) -> None:
    setup, points = arguments
    (outcome,) = evaluate(setup, points)
    address = outcome["result"]["model"]
    Store(str(home / "store")).write(
        "models/damaged", lambda folder: (folder / "x").touch(), is_final=True
    )
    models = ["models/damaged", "models/missing", address]
    damaged, missing, whole = worker.test_scores(setup, models)
    assert damaged["state"] == "error"
    assert "Traceback" in damaged["message"]
    assert missing["state"] == "missing_model"
    assert 0.0 <= whole["score_low"] <= whole["score"] <= whole["score_high"] <= 1.0


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_again_after_imports_if_it_was_before(enabled: bool) -> None:
    try:
        (gc.enable if enabled else gc.disable)()
        with collection_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
