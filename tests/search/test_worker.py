"""What a worker does with a trial that goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objectives import objective
from objectives.data import prepare
from objectives.failures import TrialFailure
from search.worker import evaluate
from spaces.search_file import SearchFile
from spaces.search_space import SearchSpace


@pytest.fixture
def arguments(make_search: Callable[..., SearchFile], home: Path) -> tuple[str, str, Any]:
    search = make_search(name=home.parent.name[:60])
    data = prepare(search.data, search.task, home / "data")
    space = SearchSpace(search)
    point = space.configuration((0,) * len(space.dimensions))
    return search.model_dump_json(), str(data.folder), point.to_dict()


def break_measuring(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int
) -> list[Exception]:
    real, raised = objective.measure_latency, []

    def measure(*positional: Any, **named: Any) -> Any:
        if len(raised) < times:
            raised.append(error)
            raise error
        return real(*positional, **named)

    monkeypatch.setattr(objective, "measure_latency", measure)
    return raised


def test_an_unexpected_error_is_retried_once_from_the_checkpoint(
    arguments: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_measuring(monkeypatch, RuntimeError("a bad day"), times=1)
    outcome = evaluate(*arguments)
    assert outcome["state"] == "complete"
    assert outcome["result"]["steps"]["trained"] == 0
    assert outcome["curve"]


def test_an_error_that_comes_again_is_a_named_state(
    arguments: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = break_measuring(monkeypatch, RuntimeError("a bad day"), times=9)
    outcome = evaluate(*arguments)
    assert outcome["state"] == "error"
    assert "RuntimeError: a bad day" in outcome["message"]
    assert len(raised) == 2


def test_a_failure_with_a_name_is_not_retried(
    arguments: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = break_measuring(monkeypatch, TrialFailure("bad_latency", "0 ms"), times=9)
    assert evaluate(*arguments) == {"state": "bad_latency", "message": "0 ms"}
    assert len(raised) == 1
