"""Speeds of training of a space, in the study that a run measures them for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.samplers import known_speeds as known
from search.samplers.base import SpaceExhaustedError
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.known_speeds import check_budgets, known_speeds
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.study import Study
from spaces.cost.architecture import Architecture
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace

SECONDS = {"unit": "seconds", "choices": [1.0, 2.0]}


def rate(architecture: Architecture) -> float:
    """As if a step took as long as the layers are many and wide: 16 down to 4 a second."""
    return 512.0 / (architecture.depth * architecture.width)


def measure(architecture: Architecture) -> dict[str, Any]:
    return {"steps_per_second": rate(architecture), "spread": 1.0, "is_noisy": False}


@pytest.fixture
def study(make_search: Callable[..., SearchFile], home: Path) -> Study:
    search = make_search(space__budget=SECONDS, space__quantisation="rtn-8", space__sparsity=0.0)
    return Study.open(search, f"sqlite:///{home / 'study.db'}")


def test_speeds_are_recorded_once_and_turn_seconds_into_steps(study: Study, home: Path) -> None:
    one = Architecture.of(1, 32)
    with pytest.raises(UserError, match="1x32 trains in a second are not measured yet"):
        study.space.steps(2.0, one)
    study.record_speeds(known_speeds(study.space, measure, pytest.fail))
    twice = [{**measure(one), "steps_per_second": 99.0}]
    study.record_speeds(known_speeds(study.space, lambda _: dict(twice[0]), pytest.fail))
    for each in (study, Study.load("tiny", f"sqlite:///{home / 'study.db'}")):
        assert each.space.steps(2.0, one).pretraining == 32
        assert {a: each.speeds(a) for a in each.space.architectures()} == {
            a: rate(a) for a in each.space.architectures()
        }


def test_budgets_that_buy_too_few_steps_are_not_tried(study: Study) -> None:
    study.record_speeds(known_speeds(study.space, measure, pytest.fail))
    said: list[str] = []
    check_budgets(study.space, said.append)
    # 16, 8, 8 and 4 steps a second, for one second or two.
    assert said == [
        "4 of 8 pairs of an architecture and a budget are fewer than 10 steps, and are not tried"
    ]
    trained = {("1x32", 1.0), ("1x32", 2.0), ("1x64", 2.0), ("2x32", 2.0)}
    study.optuna.sampler = FeasibleSampler(study.space, "grid", seed=0, trials=200)
    proposed = []
    for _ in trained:
        record = study.ask()
        study.tell_failure(record.number, "error", "made up")
        proposed.append((str(record.configuration.architecture), record.configuration.budget))
    assert sorted(proposed) == sorted(trained)
    with pytest.raises(SpaceExhaustedError):
        study.ask()

    searched = SearchDesignSpace(study.space)
    candidates = {
        (str(each.architecture), each.budget)
        for each in map(study.space.configuration, study.space.points())
        if np.isfinite(searched.design_space.log_costs(np.array([searched.run_of(each)]))).any()
    }
    assert candidates == trained


def test_the_frontier_sampler_knows_what_a_step_takes(study: Study) -> None:
    study.record_speeds(known_speeds(study.space, measure, pytest.fail))
    searched = SearchDesignSpace(study.space)
    seconds = CostModel(searched.design_space).training_seconds()
    for configuration in map(study.space.configuration, study.space.points()):
        # A quarter more for the decay, before any was seen.
        steps = int(configuration.budget * rate(configuration.architecture))
        assert seconds[searched.run_of(configuration)] == pytest.approx(
            1.25 * steps / rate(configuration.architecture)
        )


def test_where_no_budget_buys_enough_steps_the_search_is_refused(
    make_search: Callable[..., SearchFile],
) -> None:
    search = make_search(space__budget={"unit": "seconds", "choices": [0.1]})
    speeds = {s.architecture: s.steps_per_second for s in _known(SearchSpace(search))}
    with pytest.raises(UserError, match=r"space.budget: 0.1 seconds .* at most 1 steps .* 10"):
        check_budgets(SearchSpace(search, steps_per_second=speeds.get), pytest.fail)


def test_a_model_that_cannot_be_trained_is_left_out(
    make_search: Callable[..., SearchFile],
) -> None:
    search, warned = make_search(space__budget=SECONDS), list[str]()
    large = Architecture.of(2, 64)
    failure = {"failure": "CUDA out of memory"}
    speeds = known_speeds(
        SearchSpace(search), lambda a: dict(failure) if a == large else measure(a), warned.append
    )
    assert warned == ["2x64 cannot be trained here: CUDA out of memory"]
    rates = {s.architecture: s.steps_per_second for s in speeds}
    space = SearchSpace(search, steps_per_second=rates.get)
    assert all(
        space.configuration(p).architecture != large
        for p in space.points()
        if space.is_feasible(space.configuration(p))
    )
    assert CostModel(SearchDesignSpace(space).design_space).training_seconds().max() < 10
    with pytest.raises(UserError, match="no architecture can be trained here: CUDA out of memory"):
        known_speeds(SearchSpace(search), lambda _: dict(failure), warned.append)


def test_what_other_programs_disturbed_is_measured_again(
    make_search: Callable[..., SearchFile],
) -> None:
    warned: list[str] = []
    asked: list[Architecture] = []

    def disturbed(architecture: Architecture) -> dict[str, Any]:
        asked.append(architecture)
        is_again = asked.count(architecture) > 1
        noisy = architecture.width == 64
        return {
            "steps_per_second": 9.0 if is_again else 5.0,
            "is_noisy": noisy and not (is_again and architecture.depth == 1),
        }

    space = SearchSpace(make_search(space__budget=SECONDS))
    speeds = {
        str(s.architecture): s.steps_per_second
        for s in known_speeds(space, disturbed, warned.append)
    }
    assert speeds == {"1x32": 5.0, "2x32": 5.0, "1x64": 9.0, "2x64": 9.0}
    assert warned == ["other programs disturbed the measurement of 2x64"]


def test_in_a_large_space_some_are_measured_and_the_others_estimated(
    make_search: Callable[..., SearchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST_MEASURED", 12)
    depth = {"low": 1, "high": 12}
    space = SearchSpace(make_search(space__depth=depth, space__budget=SECONDS))
    speeds = _known(space)
    assert {s.architecture for s in speeds} == set(space.architectures())
    assert sum(bool(s.measured) for s in speeds) == 12
    ratios = [s.steps_per_second / rate(s.architecture) for s in speeds]
    assert 0.9 < min(ratios) <= max(ratios) < 1.1


def test_a_plan_knows_the_seconds_and_not_the_steps(make_search: Callable[..., SearchFile]) -> None:
    plan = make_plan(SearchSpace(make_search(space__budget=SECONDS)), 1000)
    assert plan.training_seconds == 4 * (1.0 + 2.0)
    assert plan.training_flops is None
    assert {(e.steps, e.training_flops) for e in plan.examples} == {(None, None)}


def _known(space: SearchSpace) -> list[Any]:
    return list(known_speeds(space, measure, pytest.fail))
