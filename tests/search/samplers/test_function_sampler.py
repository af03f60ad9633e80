"""Samplers on the space of a function: dimensions of any kind, known and unknown costs, stages."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from search.execution.jobs import SampledJobs
from search.functions.run import make_sampler
from search.pareto import leaders
from search.samplers.base import ConvergedError, SpaceExhaustedError
from search.samplers.functions.earlier import warm_start_report
from search.storage.errors import StudyError
from search.storage.function_study import FunctionStudy
from spaces.functions.points import CostFunction, FunctionSpace, StagesFunction
from spaces.functions.search import read_function_search

Values = Mapping[str, Any]
MIXED = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True, "count": 9},
    "dropout": {"low": 0.0, "high": 1.0},
    "depth": {"low": 1, "high": 4},
    "optimizer": {"choices": ["adamw", "lion", "sgd"]},
    "tied": {"choices": [True, False]},
}
SAMPLERS = ("frontier", "tpe", "gp", "nsgaii", "random", "grid")


def accuracy(values: Values) -> float:
    """At most 0.9, with lion at depth 4, 1e-3 and a dropout of 0.2."""
    rate, drop = math.log10(values["learning_rate"]) + 3.0, values["dropout"] - 0.2
    best = 0.7 + 0.05 * values["depth"] - 0.1 * (values["optimizer"] != "lion")
    return best - 0.04 * rate**2 - 0.3 * drop**2


def size(values: Values) -> dict[str, float]:
    return {"size_mb": values["depth"] * (0.6 if values["tied"] else 1.0)}


class Driven:
    """A study whose trials are evaluated here, one after another."""

    def __init__(
        self,
        url: str,
        *,
        cost: CostFunction | None = None,
        stages: StagesFunction | None = None,
        **search: Any,
    ) -> None:
        document = {
            "name": "driven",
            "space": MIXED,
            "objectives": {"accuracy": "maximize"},
            "trials": 10**6,
            **search,
        }
        space = FunctionSpace(read_function_search(document), cost, stages)
        self.study = FunctionStudy.open(space, url)
        self.resume()

    def resume(self) -> None:
        """Make the sampler again, as the next run does."""
        self.sampler = make_sampler(self.study)
        self.study.optuna.sampler = self.sampler
        self._jobs = SampledJobs(self.study, self.sampler, trials=10**6, deadline=math.inf)

    def ask(self) -> dict[str, Any]:
        """The values of the next trial."""
        (self.record,) = self._jobs.next()
        return self.record.configuration.params

    def tell(self, stages: Mapping[str, float | None] | None = None, **metrics: float) -> None:
        """The result of the trial that was asked for."""
        seconds = 1.0 + sum(filter(None, (stages or {}).values()))
        score = metrics[next(iter(self.study.search.objectives))]
        result = {"score": score, "seconds": seconds, "stages": stages or {}, "metrics": metrics}
        self.study.tell_result(self.record.number, {**metrics, **result})

    def run(self, trials: int, evaluate: Callable[[Values], dict[str, float]]) -> list[Any]:
        """Evaluate so many trials; returns their values."""
        asked = []
        for _ in range(trials):
            values = self.ask()
            self.tell(**evaluate(values))
            asked.append(values)
        return asked


@pytest.fixture
def url(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "study.db")
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.mark.slow
def test_frontier_finds_the_best_values_of_a_mixed_space(url: str) -> None:
    driven = Driven(url)
    asked = driven.run(20, lambda values: {"accuracy": accuracy(values)})
    assert max(map(accuracy, asked)) > 0.88
    assert len({str(values) for values in asked}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, False])
def test_frontier_covers_the_costs_whether_they_are_known_before_or_not(
    url: str, is_known: bool
) -> None:
    driven = Driven(
        url,
        objectives={"accuracy": "maximize", "size_mb": "minimize"},
        constraints={"max_size_mb": 2.0},
        cost=size if is_known else None,
    )
    trials = 16 if is_known else 22
    asked = driven.run(trials, lambda values: {"accuracy": accuracy(values), **size(values)})
    too_large = sum(size(values)["size_mb"] > 2.0 for values in asked)
    assert too_large == 0 if is_known else too_large <= 6
    members = leaders(driven.study.records(), driven.study.criteria)
    assert [member.result["size_mb"] for member in members] == pytest.approx([0.6, 1.2, 1.8])
    scores = [member.result["score"] for member in members]
    assert scores == pytest.approx([0.75, 0.8, 0.85], abs=0.015)


def test_choices_do_not_depend_on_the_scale_of_the_score(url: str) -> None:
    plain, scaled = Driven(url, name="plain"), Driven(url, name="scaled")
    one = plain.run(9, lambda values: {"accuracy": accuracy(values)})
    two = scaled.run(9, lambda values: {"accuracy": 5e4 * accuracy(values) - 7e4})
    assert one == two


def test_less_of_a_loss_is_better(url: str) -> None:
    driven = Driven(url, objectives={"loss": "minimize"})
    asked = driven.run(20, lambda values: {"loss": 10.0 - 9.0 * accuracy(values)})
    assert max(map(accuracy, asked)) > 0.86


def test_values_near_those_that_failed_are_avoided(url: str) -> None:
    driven = Driven(url)
    failed = 0
    for _ in range(16):
        values = driven.ask()
        if values["learning_rate"] >= 1e-2:
            failed += 1
            driven.study.tell_failure(driven.record.number, "error", "the loss exploded")
        else:
            driven.tell(accuracy=accuracy(values))
    # A third of all values.
    assert failed <= 3


@pytest.mark.parametrize(("stage_seconds", "made"), [(300.0, 1), (0.01, 2)])
def test_trials_that_share_an_expensive_stage_come_first(
    url: str, stage_seconds: float, made: int
) -> None:
    driven = Driven(url, stages=lambda values: [("pretrained", values["depth"])])
    stored: set[str] = set()
    for _ in range(5):
        values = driven.ask()
        key = json.dumps(["pretrained", values["depth"]])
        driven.tell({key: None if key in stored else stage_seconds}, accuracy=accuracy(values))
        stored.add(key)
    assert len(stored) == made


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_tries_each_point_once_and_none_beyond_a_known_limit(
    url: str, sampler: str
) -> None:
    space = {
        "dropout": {"low": 0.0, "high": 1.0, "count": 4},
        "depth": {"low": 1, "high": 2},
        "tied": {"choices": [True, False]},
    }
    driven = Driven(url, space=space, sampler=sampler, constraints={"max_size_mb": 1.5}, cost=size)
    asked = driven.run(12, lambda values: {"accuracy": 1.0 - values["dropout"], **size(values)})
    assert len({str(values) for values in asked}) == 12
    assert {values["dropout"] for values in asked} == {0.0, 0.3333333333, 0.6666666667, 1.0}
    with pytest.raises(SpaceExhaustedError):
        driven.ask()


@pytest.mark.parametrize("sampler", ["frontier", "tpe", "random"])
def test_a_space_may_be_too_large_to_be_looked_at_as_a_whole(url: str, sampler: str) -> None:
    space = {f"x{index}": {"low": 0.0, "high": 1.0} for index in range(8)}
    driven = Driven(url, space=space, sampler=sampler)
    asked = driven.run(6, lambda values: {"accuracy": -sum(x * x for x in values.values())})
    driven.resume()
    asked += driven.run(2, lambda values: {"accuracy": -sum(x * x for x in values.values())})
    assert len({str(values) for values in asked}) == 8


def test_a_sampler_that_is_made_again_chooses_the_same(url: str) -> None:
    driven = Driven(url)
    driven.run(7, lambda values: {"accuracy": accuracy(values)})
    again = Driven(url, name="again")
    again.run(5, lambda values: {"accuracy": accuracy(values)})
    again.resume()
    again.run(2, lambda values: {"accuracy": accuracy(values)})
    assert driven.ask() == again.ask()


@pytest.mark.parametrize("cost", [None, size])
def test_a_space_may_have_one_point(url: str, cost: CostFunction | None) -> None:
    driven = Driven(
        url,
        space={"depth": {"choices": [2]}, "tied": {"choices": [True]}},
        objectives={"accuracy": "maximize", "size_mb": "minimize"},
        cost=cost,
    )
    assert driven.run(1, lambda values: {"accuracy": 0.5, **size(values)}) == [
        {"depth": 2, "tied": True}
    ]
    with pytest.raises(SpaceExhaustedError):
        driven.ask()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_asks_for_values_that_the_expressions_exclude(url: str, sampler: str) -> None:
    space = {
        "depth": {"low": 1, "high": 4},
        "optimizer": {"choices": ["adamw", "lion", "sgd"]},
        "tied": {"choices": [True, False]},
    }
    expressions = ["optimizer != 'sgd'", "depth >= 2 and not (tied == 1 and depth == 4)"]
    constraints = {"expressions": [*expressions, "size_mb <= 3"]}
    driven = Driven(url, space=space, sampler=sampler, constraints=constraints, cost=size)
    # Of the depths 2 and 3 all, and of depth 4 none: untied, it is larger than 3 MB.
    asked = driven.run(8, lambda values: {"accuracy": 0.1 * values["depth"]})
    assert {values["depth"] for values in asked} == {2, 3}
    with pytest.raises(SpaceExhaustedError):
        driven.ask()


def test_stop_auto_ends_when_little_is_left_to_gain(url: str) -> None:
    space = {"x": {"low": 0.0, "high": 1.0, "count": 65}}
    driven = Driven(url, space=space, stop="auto", objectives={"score": "maximize"})
    with pytest.raises(ConvergedError, match="less than 1% of the hypervolume per second"):
        driven.run(64, lambda values: {"score": 1.0 - (values["x"] - 0.3) ** 2})
    results = [record.result for record in driven.study.records() if record.is_complete]
    assert 4 < len(results) < 50
    assert max(result["score"] for result in results) > 0.999


def earlier_and_later(url: str, **later: Any) -> Driven:
    """A search that learns from another one, which tried other learning rates and depths."""
    space = {
        **MIXED,
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "count": 6},
        "depth": {"low": 1, "high": 2},
    }
    storage = {"study": url}
    first = Driven(url, name="first", space=space, storage=storage, sampler="random")
    first.run(24, lambda values: {"accuracy": accuracy(values)})
    return Driven(url, **{"name": "later", "storage": storage, "from_searches": ["first"], **later})


def test_a_search_learns_from_an_earlier_one_with_other_values(url: str) -> None:
    later = earlier_and_later(url)
    assert warm_start_report(later.study) == ["from_searches: 24 trials of first"]
    asked = later.run(5, lambda values: {"accuracy": accuracy(values)})
    cold = Driven(url, name="cold")
    without = cold.run(5, lambda values: {"accuracy": accuracy(values)})
    assert max(map(accuracy, asked)) > max(map(accuracy, without))
    assert max(map(accuracy, asked)) > 0.86
    # They are none of its trials.
    assert len(later.study.records()) == 5


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({"from_searches": ["none"]}, "no search named 'none'"),
        ({"version": "2"}, "'first' has another version"),
        ({"objectives": {"accuracy": "minimize"}}, "'first' has another first objective"),
        ({"space": {"depth": {"low": 1, "high": 2}}}, "other dimensions"),
        ({"constraints": {"max_size_mb": 2.0}}, "trial 0 of 'first' has no size_mb"),
    ],
)
def test_searches_that_say_nothing_of_this_one_are_refused(
    url: str, later: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        earlier_and_later(url, **later)
