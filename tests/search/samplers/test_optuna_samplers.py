"""Optuna's samplers in a search: the wrapper proposes only what is new and can be feasible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search.samplers.base import MustWaitError, SpaceExhaustedError
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.study import Study
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from tests.search.conftest import feasible_hashes, made_up_result

SAMPLERS = ["tpe", "gp", "nsgaii", "random", "grid"]


def open_study(search: SearchFile, home: Path, name: str) -> tuple[Study, FeasibleSampler]:
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    sampler = FeasibleSampler(study.space, name, seed=0, trials=search.trials)
    study.optuna.sampler = sampler
    return study, sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_nothing_is_tried_twice_and_constraints_are_never_broken(
    name: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=30, constraints__max_size_mb=0.2, space__depth=1, space__budget__choices=[20]
    )
    study, sampler = open_study(search, home, name)
    feasible = feasible_hashes(study.space)
    assert 5 < len(feasible) < study.space.size
    tried: set[str] = set()
    for _ in range(len(feasible)):
        record = study.ask()
        size = study.space.cost(record.configuration).size_mb
        study.tell_result(record.number, made_up_result(0.5 + size, size))
        assert record.configuration.hash not in tried
        tried.add(record.configuration.hash)
    assert tried == feasible
    with pytest.raises(SpaceExhaustedError):
        sampler.check(study.optuna)


@pytest.mark.slow
def test_rare_feasible_configurations_of_a_large_space_are_found(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=30,
        constraints__max_latency_ms=1.0,
        space__depth={"low": 1, "high": 100},
        space__width={"low": 32, "high": 3200, "step": 32},
        space__sparsity={"low": 0.0, "high": 0.95, "step": 0.05},
    )
    study, _ = open_study(search, home, "random")
    assert study.space.size > 1_000_000

    # As measured: one architecture of ten thousand is fast enough.
    def latency(c: Configuration) -> float:
        return c.architecture.depth * c.architecture.width / 32

    study.space.measured = {"latency_ms": latency}
    for _ in range(4):
        record = study.ask()
        assert latency(record.configuration) == 1.0
        study.tell_failure(record.number, "diverged", "made up")


@pytest.mark.parametrize("name", ["tpe", "random", "grid"])
def test_no_two_running_trials_train_the_same_architecture(
    name: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, sampler = open_study(make_search(), home, name)
    architectures = []
    for _ in range(4):  # as many as the space has
        configuration = study.ask().configuration
        architectures.append(configuration.architecture)
    assert len(set(architectures)) == 4
    with pytest.raises(MustWaitError):
        sampler.check(study.optuna)
    study.tell_failure(1, "diverged", "made up")
    assert study.ask().configuration.architecture == architectures[1]


def test_the_same_seed_and_results_give_the_same_choices(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    def choices(folder: Path) -> list[str]:
        study, _ = open_study(make_search(), folder, "tpe")
        made = []
        for index in range(15):
            record = study.ask()
            study.tell_result(record.number, made_up_result(0.5 + index / 100, 0.1 + index / 50))
            made.append(record.configuration.hash)
        return made

    assert choices(tmp_path / "a") == choices(tmp_path / "b")
