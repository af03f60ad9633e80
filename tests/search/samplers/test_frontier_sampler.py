"""The frontier sampler: Optuna's contract, any study, and studies of tlc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState

from search.results.prediction import Predictor
from search.samplers.base import ConvergedError, MustWaitError, SpaceExhaustedError
from search.samplers.frontier.sampler import FrontierSampler
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.optuna_samplers import FeasibleSampler
from search.storage.optuna_space import parameters_from
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from tests.search.conftest import feasible_hashes, made_up_result


class TestOptunaContract(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: FrontierSampler(seed=0)


def two_objectives(trial: optuna.Trial) -> tuple[float, float]:
    x = trial.suggest_float("x", -2, 2)
    y = trial.suggest_int("y", 0, 10)
    kind = trial.suggest_categorical("kind", ["round", "flat"])
    bulge = 0.0 if kind == "round" else 1.0
    return x**2 + y / 10 + bulge, (x - 1) ** 2 + bulge


@pytest.mark.slow
def test_it_concentrates_on_the_frontier_of_any_optuna_study() -> None:
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=FrontierSampler(seed=1)
    )
    study.optimize(two_objectives, n_trials=26)
    late = study.trials[14:]
    assert sum(t.params["kind"] == "round" for t in late) > len(late) * 0.7
    assert sum(-0.3 < t.params["x"] < 1.3 for t in late) > len(late) * 0.6


def test_failed_pruned_and_running_trials_are_accepted_in_any_study() -> None:
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=FrontierSampler(seed=1)
    )
    study.optimize(two_objectives, n_trials=8)
    distributions = study.trials[0].distributions
    study.tell(study.ask(distributions), state=TrialState.FAIL)
    study.tell(study.ask(distributions), state=TrialState.PRUNED)
    study.ask(distributions)  # still running
    study.optimize(two_objectives, n_trials=2)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 10


def open_study(search: SearchFile, home: Path, seed: int = 0) -> tuple[Study, FrontierSampler]:
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    sampler = FrontierSampler(
        SearchDesignSpace(study.space), seed=seed, stops=search.stop == "auto"
    )
    study.optuna.sampler = sampler
    return study, sampler


def finish(study: Study, record: TrialRecord, lost: Mapping[str, float] | None = None) -> None:
    """As if larger and longer trained models were better, and compression cost a little.

    Args:
        lost: Fraction of the quality that methods of quantisation lose.
    """
    configuration = record.configuration
    architecture, compression = configuration.architecture, configuration.compression
    size = study.space.cost(configuration).size_mb
    dense = 0.5 + 0.1 * architecture.depth + architecture.width / 500 + configuration.budget / 1000
    kept = (1.0 - 0.5 * compression.sparsity) * (0.9 if compression.quantisation.bits < 8 else 1.0)
    kept *= 1.0 - (lost or {}).get(compression.quantisation.method, 0.0)
    steps = configuration.budget * architecture.depth
    seconds = {
        "stable": steps, "cooldown": steps / 4, "recovery": 0.0, "compress": 0.1, "measure": 0.1,
    }  # fmt: skip
    study.tell_result(
        record.number, made_up_result(0.5 + (dense - 0.5) * kept, size, seconds=seconds)
    )


def test_nothing_is_tried_twice_and_constraints_are_never_broken(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    everything = SearchSpace(make_search(space__depth=1))
    sizes = {everything.cost(c).size_mb for c in map(everything.configuration, everything.points())}
    # The limit equals the size of a model, which must still be tried.
    limit = sorted(sizes)[len(sizes) // 2]
    search = make_search(trials=99, constraints__max_size_mb=limit, space__depth=1)
    study, sampler = open_study(search, home)
    feasible = feasible_hashes(study.space)
    assert 5 < len(feasible) < study.space.size
    tried: set[str] = set()
    for _ in range(len(feasible)):
        record = study.ask()
        assert record.configuration.hash not in tried
        tried.add(record.configuration.hash)
        finish(study, record)
    assert tried == feasible
    with pytest.raises(SpaceExhaustedError):
        sampler.check(study.optuna)


def test_no_two_running_trials_train_the_same_prefix(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, sampler = open_study(make_search(), home)
    first = [study.ask() for _ in range(4)]  # as many as the space has architectures
    assert len({record.configuration.architecture for record in first}) == 4
    with pytest.raises(MustWaitError):
        sampler.check(study.optuna)
    finish(study, first[2])
    following = study.ask().configuration
    assert following.architecture == first[2].configuration.architecture


def test_a_trained_model_is_compressed_before_another_is_trained(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, _ = open_study(make_search(), home)
    first = study.ask()
    finish(study, first)
    assert study.ask().configuration.shares_training(first.configuration)


@pytest.mark.parametrize("sampler", ["frontier", "random"])
def test_a_model_that_did_not_fit_closes_what_is_larger_on_the_same_devices_and_nothing_else(
    sampler: str, make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=99,
        sampler=sampler,
        space__depth={"choices": [1, 2, 4]},
        space__width={"choices": [32, 64, 128]},
        space__budget={"unit": "steps", "choices": [20]},
        space__quantisation={"choices": ["none", "rtn-8"]},
        resources={"larger_models": [{"from_parameters": 600_000, "cpus": 2}]},
    )
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    study.optuna.sampler = chosen = (
        FrontierSampler(SearchDesignSpace(study.space), seed=0)
        if sampler == "frontier"
        else FeasibleSampler(
            study.space, "random", seed=0, trials=99, needs_at_least=search.needs_at_least
        )
    )
    sizes = {
        point: (each.architecture.depth, each.architecture.width)
        for point in study.space.points()
        if (each := study.space.configuration(point))
    }
    failed = next(point for point, size in sizes.items() if size == (2, 64))
    study.optuna.enqueue_trial(parameters_from(study.space, failed))
    study.tell_failure(study.ask().number, "oom", "made up")
    proposed = set()
    with suppress(SpaceExhaustedError):
        for _ in sizes:
            chosen.check(study.optuna)
            record = study.ask()
            finish(study, record)
            proposed.add(record.configuration.architecture)
    # The largest model has devices of its own.
    closed = {(2, 64), (2, 128), (4, 64)}
    assert {(each.depth, each.width) for each in proposed} == {*sizes.values()} - closed


@pytest.mark.parametrize(("state", "is_avoided"), [("hung", True), ("not_smaller", False)])
def test_a_run_that_the_machine_cannot_train_is_not_proposed_again(
    state: str, is_avoided: bool, make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, _ = open_study(make_search(trials=99), home)
    failed = study.ask()
    study.tell_failure(failed.number, state, "made up")
    shared = []
    for _ in range(12):
        record = study.ask()
        finish(study, record)
        shared.append(record.configuration.shares_training(failed.configuration))
    assert any(shared) is not is_avoided


def test_recovery_counts_in_steps_and_only_where_there_is_something_to_recover_from(
    make_search: Callable[..., SearchFile],
) -> None:
    steps, tokens = (
        SearchDesignSpace(
            SearchSpace(
                make_search(
                    space__budget={"unit": unit, "choices": [20 * each, 40 * each]},
                    space__recovery={"choices": [0, 20 * each]},
                )
            )
        ).design_space
        for unit, each in (("steps", 1), ("tokens", 16 * 16))
    )
    assert tokens.compressions == pytest.approx(steps.compressions)
    assert tokens.recovery_steps is not None
    trained_on = tokens.recovery_steps(np.array([0]))[0]
    assert set(trained_on) == {0.0, 20.0}
    # Dense models, with what was asked of their recovery.
    assert (~steps.compressions.any(axis=1)).sum() == 2
    assert not trained_on[~tokens.compressions.any(axis=1)].any()


def test_models_of_an_earlier_search_are_compressed_first(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(space__budget={"unit": "steps", "choices": [200, 400]})
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")
    largest = study.space.configuration(tuple(len(d.values) - 1 for d in study.space.dimensions))
    design_space = SearchDesignSpace(
        study.space, lambda runs: [(largest.shares_training(c), False) for c in runs]
    )
    study.optuna.sampler = FrontierSampler(design_space, seed=0)
    assert study.ask().configuration.shares_training(largest)


def test_a_job_compresses_again_while_that_has_the_greatest_gain(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, sampler = open_study(make_search(), home)
    sampler.check(study.optuna)
    first = study.ask()
    others = []
    while sampler.should_compress_again(study.optuna, first.configuration):
        others.append(study.ask().configuration)
    assert 1 <= len(others) < 8  # not all eight compressions of the space
    assert all(other.shares_training(first.configuration) for other in others)
    assert len({other.hash for other in others} | {first.configuration.hash}) == len(others) + 1


def test_the_same_seed_gives_the_same_choices_also_to_a_sampler_recreated_from_the_study(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    def choices(folder: Path, recreated: bool) -> list[str]:
        made = []
        study, _ = open_study(make_search(), folder)
        for index in range(10):
            if recreated and index == 7:
                study, _ = open_study(make_search(), folder)
            record = study.ask()
            finish(study, record)
            made.append(record.configuration.hash)
        return made

    assert choices(tmp_path / "a", recreated=False) == choices(tmp_path / "b", recreated=True)


def test_the_order_in_which_trials_finish_is_kept(
    make_search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    def choices(folder: Path, recreated: bool) -> list[str]:
        made = []
        study, _ = open_study(make_search(), folder)
        for index in range(5):
            if recreated and index == 4:
                study, _ = open_study(make_search(), folder)
            first, second = study.ask(), study.ask()
            finish(study, second)
            finish(study, first)
            made += [first.configuration.hash, second.configuration.hash]
        return made

    assert choices(tmp_path / "a", recreated=False) == choices(tmp_path / "b", recreated=True)


def test_it_stops_when_the_expected_gain_is_small(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    study, sampler = open_study(make_search(trials=99, stop="auto", sampler="frontier"), home)
    end = None
    while end is None:
        try:
            sampler.check(study.optuna)
        except ConvergedError as error:
            end = error
        else:
            finish(study, study.ask())
    assert "less than 1% of the hypervolume" in str(end)
    assert 5 < len(study.records()) < study.space.size


def test_at_a_fixed_cost_it_maximises_accuracy_alone(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=99, objectives=["accuracy"], constraints__max_size_mb=0.2, space__width=64
    )
    study, sampler = open_study(search, home)
    for _ in range(8):
        sampler.check(study.optuna)
        record = study.ask()
        finish(study, record)
        assert study.space.cost(record.configuration).size_mb <= 0.2
    # A frontier needs the smallest models too; this search never tries the heaviest compression.
    tried = [record.configuration for record in study.records()]
    everything = map(study.space.configuration, study.space.points())
    smallest = min(everything, key=lambda c: study.space.cost(c).size_mb)
    assert smallest.hash not in {c.hash for c in tried}


def test_with_fitted_compressions_it_chooses_only_what_to_train(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    limit = 0.12
    search = make_search(trials=99, space__compression="fit", constraints__max_size_mb=limit)
    study, sampler = open_study(search, home)
    feasible = feasible_hashes(study.space)
    assert len(feasible) == study.space.size == 2 * 2 * 2
    for _ in range(len(feasible)):
        record = study.ask()
        assert study.space.cost(record.configuration).size_mb <= limit
        feasible.remove(record.configuration.hash)
        finish(study, record)
    with pytest.raises(SpaceExhaustedError):
        sampler.check(study.optuna)


def test_it_minimises_perplexity(make_task_search: Callable[..., SearchFile], home: Path) -> None:
    search = make_task_search(
        "causal-lm", trials=99, objectives=["perplexity"], constraints__max_size_mb=10.0,
        space__width={"choices": [32, 64, 96, 128, 160, 192]},
        space__quantisation={"choices": ["none"]}, space__sparsity={"choices": [0.0, 0.25, 0.5]},
    )  # fmt: skip
    study, _ = open_study(search, home)
    for _ in range(16):
        record = study.ask()
        architecture = record.configuration.architecture
        bits = 5 - architecture.width / 64 + 2 * record.configuration.compression.sparsity
        seconds = {"stable": 1.0, "cooldown": 0.2, "recovery": 0.0, "compress": 0.1, "measure": 0.1}
        size = study.space.cost(record.configuration).size_mb
        made = made_up_result(2.0**bits, size, metric="perplexity", seconds=seconds)
        study.tell_result(record.number, made)
    late = [record.configuration for record in study.records()[8:]]
    assert sum(c.architecture.width >= 128 for c in late) > len(late) / 2
    assert sum(c.compression.sparsity for c in late) / len(late) < 0.25


def test_recoveries_of_one_model_are_separate_candidates(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(trials=99, space__recovery={"choices": [0, 20.0]}, space__depth=1)
    study, _ = open_study(search, home)
    tried = set()
    for _ in range(16):
        record = study.ask()
        compression = record.configuration.compression
        steps = record.configuration.budget
        seconds = {
            "stable": steps, "cooldown": steps / 4, "recovery": compression.recovery,
            "compress": 0.1, "measure": 0.1,
        }  # fmt: skip
        size = study.space.cost(record.configuration).size_mb
        gained = 0.1 * (compression.recovery > 0) * compression.sparsity
        made = made_up_result(0.6 + size / 10 + gained, size, seconds=seconds)
        study.tell_result(record.number, made)
        tried.add(record.configuration.hash)
    assert len(tried) == 16
    canonical = [record.configuration.canonical() for record in study.records()]
    assert {configuration.compression.recovery for configuration in canonical} == {0.0, 20.0}


def test_configurations_above_the_latency_limit_are_never_proposed(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(trials=99, constraints__max_latency_ms=1.0)
    study = Study.open(search, f"sqlite:///{home / 'study.db'}")

    # As measured before the search: two layers take too long, except where they are int8.
    def latency(c: Configuration) -> float:
        layer = 0.4 if c.compression.quantisation.method == "static" else 0.8
        return c.architecture.depth * layer

    study.space.measured = {"latency_ms": latency}
    study.optuna.sampler = FrontierSampler(SearchDesignSpace(study.space), seed=0)
    for _ in range(12):
        record = study.ask()
        finish(study, record)
        assert latency(record.configuration) <= 1.0


@pytest.mark.slow
def test_methods_of_equal_bits_are_told_apart(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(
        trials=30,
        space__depth={"choices": [1, 2, 3, 4]},
        space__width={"choices": [32, 64, 128]},
        space__quantisation={"choices": ["none", "rtn-4", "gptq-4", "hqq-4", "rtn-3", "hqq-3"]},
        space__sparsity={"choices": [0.0, 0.25, 0.5]},
    )
    study, _ = open_study(search, home)
    for _ in range(search.trials):
        finish(study, study.ask(), lost={"rtn": 0.1, "gptq": 0.05, "hqq": 0.15})
    predictor = Predictor(study, study.records())
    runs = [
        c
        for c in map(study.space.configuration, study.space.points())
        if c.compression == Compression()
    ]
    gptq, hqq = (
        [
            predictor.predict(
                {
                    "depth": run.architecture.depth,
                    "width": run.architecture.width,
                    "budget": run.budget,
                    "quantisation": f"{method}-4",
                    "sparsity": 0.0,
                }
            ).score
            for run in runs
        ]
        for method in ("gptq", "hqq")
    )
    assert (np.array(gptq) > np.array(hqq)).mean() > 0.95
