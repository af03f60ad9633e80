"""The ``frontier`` sampler with several costs, and with several scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.pareto import leaders
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import Scored, Trial
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.storage.study import Study
from spaces.file.search_file import SearchFile
from tests.search.conftest import made_up_result
from tests.search.samplers.spaces import LIMITS, design_space, grid
from tests.search.samplers.test_function_sampler import Driven

Values = Mapping[str, Any]
SECONDS = {"stable": 1.0, "cooldown": 0.3, "compress": 0.1, "measure": 0.1}
SPACE = {
    "depth": {"low": 1, "high": 8},
    "width": {"low": 16, "high": 256, "log": True},
    "threshold": {"low": 0.0, "high": 1.0, "step": 0.125},
}


@pytest.fixture
def url(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "study.db")
    return f"sqlite:///{tmp_path / 'study.db'}"


def costs(values: Values) -> dict[str, float]:
    """A deep model is small, and a wide one is fast."""
    depth, width = values["depth"], values["width"]
    return {"size_mb": depth * width**2 / 1e4, "latency_ms": float(depth)}


def accuracy(values: Values) -> float:
    return float(1.0 - (values["depth"] * values["width"]) ** -0.4)


def precision(values: Values) -> float:
    """The opposite of the recall in the threshold."""
    return accuracy(values) * (0.5 + 0.5 * values["threshold"])


def recall(values: Values) -> float:
    return accuracy(values) * (1.0 - 0.5 * values["threshold"])


def plain_space() -> DesignSpace:
    """Six runs without compressions, of one cost."""
    features, width = grid()
    return replace(
        design_space(),
        runs=features.training[::width],
        compressions=features.compression[:1],
        baseline=0.0,
        log_costs=lambda chosen: np.full((len(chosen), 1), 0.5),
    )


def gains(space: DesignSpace, trials: list[Trial]) -> list[float]:
    """Expected gain of each run."""
    designer = Designer(space, seed=0)
    designer.update(trials)
    proposals = designer.proposals([])
    return proposals.gain[:, 0].tolist()


def test_a_candidate_that_only_a_further_cost_speaks_for_has_a_gain() -> None:
    """Five of the six runs are tried and as good as each other; the last costs a tenth."""
    space = plain_space()
    tried = [Trial(run, 0, 0.8, error=0.001) for run in range(5)]
    further = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    several = replace(
        space, further_costs=lambda chosen: further[chosen, None, None], further_limits=(LIMITS,)
    )
    assert gains(several, tried)[5] > 10 * max(gains(space, tried)[5], 1e-6)
    # What costs more than all others gains no more than it would without that cost.
    dear = replace(several, further_costs=lambda chosen: 1.0 - further[chosen, None, None])
    assert gains(dear, tried)[5] <= gains(space, tried)[5] + 1e-9


def test_a_candidate_that_only_a_further_score_speaks_for_has_a_gain() -> None:
    space = replace(plain_space(), further_baselines=(0.0,))
    scores = [0.2, 0.3, 0.4, 0.5, 0.6]
    rising = [Trial(r, 0, 0.8, 0.001, further=(Scored(s, 0.001),)) for r, s in enumerate(scores)]
    level = [replace(trial, further=(Scored(0.6, 0.001),)) for trial in rising]
    assert gains(space, rising)[5] > 1.5 * gains(space, level)[5]


def test_three_objectives_cover_what_two_leave_out(url: str) -> None:
    """Which model is the best within 2 ms, whatever its size."""

    driven = Driven(
        url, space={name: SPACE[name] for name in ("depth", "width")}, cost=costs, seed=1,
        objectives={"accuracy": "maximize", "size_mb": "minimize", "latency_ms": "minimize"},
    )  # fmt: skip
    driven.run(14, lambda values: {"accuracy": accuracy(values), **costs(values)})
    results = [record.result for record in driven.study.records()]
    fast = max(result["score"] for result in results if result["latency_ms"] <= 2.0)
    small = max(result["score"] for result in results if result["size_mb"] <= 1.0)
    assert fast > accuracy({"depth": 2, "width": 256}) - 0.01
    assert small > accuracy({"depth": 8, "width": 32}) - 0.04


@pytest.mark.slow
@pytest.mark.parametrize("weighed", [{"size_mb": "minimize"}, {}])
def test_two_scores_that_exclude_one_another_are_both_reached(
    url: str, weighed: dict[str, str]
) -> None:
    objectives = {"precision": "maximize", "recall": "maximize", **weighed}
    driven = Driven(url, space=SPACE, seed=1, cost=costs, objectives=objectives)
    driven.run(
        26,
        lambda values: {"precision": precision(values), "recall": recall(values), **costs(values)},
    )
    study = driven.study
    assert study.optuna.metric_names == list(objectives)
    results = [record.result for record in study.records()]
    most = accuracy({"depth": 8, "width": 256})
    assert max(result["precision"] for result in results) > 0.95 * most
    assert max(result["recall"] for result in results) > 0.95 * most
    # What Optuna calls the best trials are those on the frontier.
    members = {record.number for record in leaders(study.records(), study.criteria)}
    assert members <= {trial.number for trial in study.optuna.best_trials}


def test_a_search_file_with_two_costs_proposes_models_of_every_kind(
    make_search: Callable[..., SearchFile], home: Path, empty_database: Path
) -> None:
    home.mkdir()
    shutil.copy(empty_database, home / "study.db")
    search = make_search(trials=30, objectives=["accuracy", "size_mb", "flops"])
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    design = SearchDesignSpace(study.space)
    assert len(design.design_space.further_limits) == 1
    study.optuna.sampler = FrontierSampler(design, seed=0)
    for _ in range(12):
        record = study.ask()
        cost = study.space.cost(record.configuration)
        score = 1.0 - 0.3 / cost.flops**0.02
        result = made_up_result(score, cost.size_mb, flops=cost.flops, seconds=SECONDS)
        study.tell_result(record.number, result)
    assert study.optuna.metric_names == ["accuracy", "size_mb", "flops"]
    assert len({r.configuration.hash for r in study.records()}) == 12
    members = {record.number for record in leaders(study.records(), study.criteria)}
    assert members <= {trial.number for trial in study.optuna.best_trials}
