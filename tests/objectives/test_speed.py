"""Budgets in seconds: the speed of training is measured once and turns them into steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.data.prepare import prepare
from objectives.failures import TrialFailure
from objectives.objective import Objective
from objectives.tasks import make_task
from objectives.training import speed
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

pytestmark = pytest.mark.usefixtures("home")
SMALL, LARGE = Architecture.of(1, 32), Architecture.of(2, 64)
SECONDS = {"unit": "seconds", "choices": [0.25, 0.5]}


def configuration(budget: float, architecture: Architecture = SMALL) -> Configuration:
    return Configuration(architecture, budget, Compression())


@pytest.fixture
def make_timed(make_task_search: Callable[..., SearchFile]) -> Callable[..., SearchFile]:
    return lambda **fields: make_task_search("causal-lm", space__budget=SECONDS, **fields)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Architecture]:
    """The architectures whose speed is really measured, as they come."""
    real, asked = speed.measure_speed, []

    def measure(process: Any, path: Any, placement: Any) -> speed.TrainingSpeed:
        asked.append(path.architecture)
        # As if no other program had run: the machine of the tests is busy.
        return replace(real(process, path, placement), spread=1.0)

    monkeypatch.setattr(speed, "measure_speed", measure)
    return asked


def test_a_budget_in_seconds_buys_what_the_architecture_trains_in_that_time(
    make_timed: Callable[..., SearchFile], measured: list[Architecture]
) -> None:
    objective = Objective(make_timed())
    short, long = (objective.evaluate(configuration(seconds)) for seconds in (0.25, 0.5))
    rate = short.steps_per_second
    assert rate is not None
    assert rate == long.steps_per_second > 10
    assert (short.steps["total"], long.steps["total"]) == (int(0.25 * rate), int(0.5 * rate))
    assert long.steps["reused"] == round(0.8 * short.steps["total"])
    slower = objective.speed_cache.of(LARGE)
    assert slower.steps_per_second < rate
    assert slower.precision in ("fp32", "bf16")

    # Neither the seed nor the learning rate changes what a step takes.
    other = Objective(make_timed(seed=1, training__learning_rate=1e-3))
    assert other.speed_cache.steps_per_second(SMALL) == rate
    assert measured == [SMALL, LARGE]


def test_another_batch_size_or_number_of_threads_is_measured_anew(
    make_timed: Callable[..., SearchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(process: Any, path: Any, placement: Any) -> speed.TrainingSpeed:
        return speed.TrainingSpeed(next(rates), 1.0, placement.cpus, 1, "fp32", "none")

    rates = iter((30.0, 20.0, 10.0))
    monkeypatch.setattr(speed, "measure_speed", measure)
    changes: list[dict[str, Any]] = [{}, {"training__batch_size": 8}, {"resources__cpus": 2}]
    for _ in range(2):
        found = [Objective(make_timed(**fields)).speed_cache.of(SMALL) for fields in changes]
        assert [(each.steps_per_second, each.threads) for each in found] == [
            (30.0, 1),
            (20.0, 1),
            (10.0, 2),
        ]


def test_speeds_of_the_study_are_used_as_they_are(
    make_timed: Callable[..., SearchFile], measured: list[Architecture]
) -> None:
    objective = Objective(make_timed(), speeds={SMALL: 40.0, LARGE: 12.0})
    result = objective.evaluate(configuration(0.5))
    assert (result.steps["total"], result.steps_per_second) == (20, 40.0)
    with pytest.raises(TrialFailure, match="6 steps") as caught:
        objective.evaluate(configuration(0.5, LARGE))
    assert caught.value.state == "too_few_steps"
    assert measured == []


def test_a_disturbed_measurement_is_repeated_in_the_next_search(
    make_timed: Callable[..., SearchFile],
    measured: list[Architecture],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "MAX_SPREAD", 0.5)
    assert Objective(make_timed()).speed_cache.of(SMALL).is_noisy
    Objective(make_timed()).speed_cache.of(SMALL)
    assert measured == [SMALL, SMALL]


def test_the_budget_of_a_classifier_is_that_of_its_pretraining(
    make_search: Callable[..., SearchFile], home: Path
) -> None:
    search = make_search(space__budget=SECONDS)
    task = make_task(search, prepare(search.data, search.task, home / "data"), {SMALL: 60.0}.get)
    _, decay, stable = task.path(configuration(0.5)).chain
    assert (stable.length, decay.length) == (24, 6)
