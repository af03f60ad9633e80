"""Settings of training as dimensions of the samplers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from search.samplers.base import MustWaitError
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.history import StageSeconds, Trial
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import made_up_result

RATES = {"low": 1e-4, "high": 3.2e-2, "log": True, "count": 9}


@pytest.fixture
def search(make_search: Callable[..., SearchFile]) -> SearchFile:
    return make_search(
        trials=200,
        space__training={
            "learning_rate": RATES,
            "decay_fraction": {"choices": [0.2, 0.4]},
            "fine_tuning": {"dropout": {"choices": [0.0, 0.1, 0.3]}},
        },
    )


def test_features_are_doublings_or_parts_of_the_range(search: SearchFile) -> None:
    space = SearchDesignSpace(SearchSpace(search)).design_space
    assert space.settings == (False, False, True)  # in alphabetical order
    decay, dropout, rate = space.runs[:, -3:].T
    assert sorted(set(decay)) == [-1.0, 1.0]
    assert sorted({round(each, 6) for each in dropout}) == [-1.0, -0.333333, 1.0]
    assert rate.max() == -rate.min() == pytest.approx(math.log2(320) / 2)


def test_runs_of_one_architecture_share_speed_and_not_always_the_stable_path(
    search: SearchFile,
) -> None:
    searched = SearchDesignSpace(SearchSpace(search))
    model = CostModel(searched.design_space)
    run = 0
    architecture, paths = searched.design_space.architecture, searched.design_space.paths
    took = StageSeconds(stable=400.0, cooldown=100.0, evaluate=1.0, recovery=0.0)
    before = model.training_seconds()
    model.update(Trial(run, 0, 0.7, seconds=took))
    seconds = model.training_seconds()
    same = (architecture == architecture[run]) & (np.arange(len(paths)) != run)
    shared = same & (paths == paths[run])
    assert shared.sum() == 2 * 2 * 3 - 1  # budgets, decays, dropouts
    assert (same & ~shared).sum() == 8 * 2 * 2 * 3
    steps = searched.design_space.steps
    for budget in set(steps):
        here = steps == budget
        assert before[same & here].max() < 10.0 < seconds[same & ~shared & here].min()
        assert seconds[shared & here].max() < 0.7 * seconds[same & ~shared & here].min()


def finish(study: Study, record: TrialRecord, best_rate: float) -> None:
    """As if one learning rate and some dropout suited all sizes."""
    configuration = record.configuration
    settings, architecture = dict(configuration.training), configuration.architecture
    away = math.log2(settings["learning_rate"] / best_rate)
    dense = 0.75 + 0.03 * architecture.depth + architecture.width / 2000
    dense += configuration.budget / 2000
    dense -= 0.012 * away**2 + 0.3 * (settings["fine_tuning.dropout"] - 0.1) ** 2
    score = max(0.5, dense - 0.05 * configuration.compression.sparsity)
    steps = configuration.budget * architecture.depth
    seconds = {
        "stable": steps, "cooldown": steps / 4, "recovery": 0.0, "compress": 0.1, "measure": 0.1,
    }  # fmt: skip
    size = study.space.cost(configuration).size_mb
    study.tell_result(record.number, made_up_result(score, size, seconds=seconds))


@pytest.mark.slow
@pytest.mark.parametrize("best_rate", [2e-4, 1e-2])
def test_it_finds_the_learning_rate_in_few_trials(
    best_rate: float, make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=200,
        space__quantisation={"choices": ["none", "rtn-4"]},
        space__sparsity=0.0,
        space__training={
            "learning_rate": RATES,
            "fine_tuning": {"dropout": {"choices": [0.0, 0.1, 0.3]}},
        },
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.optuna.sampler = FrontierSampler(SearchDesignSpace(study.space), seed=0)
    for _ in range(24):
        finish(study, study.ask(), best_rate)
    rates = [dict(record.configuration.training)["learning_rate"] for record in study.records()]
    away = [abs(math.log2(rate / best_rate)) for rate in rates[16:]]
    # Three of the nine rates are as near.
    assert sum(doublings < 1.1 for doublings in away) >= 6


@pytest.mark.parametrize("name", ["frontier", "random"])
def test_other_settings_of_an_architecture_in_training_need_not_wait(
    name: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=20,
        space__depth=1,
        space__width=32,
        space__training={
            "learning_rate": {"choices": [1e-3, 2e-3]},
            "decay_fraction": {"choices": [0.2, 0.4]},
        },
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    sampler = (
        FrontierSampler(SearchDesignSpace(study.space), seed=0)
        if name == "frontier"
        else FeasibleSampler(study.space, "random", seed=0, trials=20)
    )
    study.optuna.sampler = sampler
    first, second = study.ask().configuration, study.ask().configuration
    assert first.architecture == second.architecture
    assert first.stable_path != second.stable_path
    with pytest.raises(MustWaitError):
        sampler.check(study.optuna)
