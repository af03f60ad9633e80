"""The learning-rate schedules, and the parameter groups of the optimiser."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from objectives.data.prepare import prepare
from objectives.models.parametrisation import WeightScale
from objectives.tasks import make_task
from objectives.training.loop import train
from objectives.training.optimizer import (
    EPSILON,
    Decay,
    LearningRateSchedule,
    OptimizerSettings,
    WarmupDecay,
    WarmupStable,
    make_optimizer,
)
from objectives.training.path import TrainingPath, TrainingProgress
from objectives.training.replica import Replica
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

PEAK, DECAY = 3e-3, 0.05


def settings(schedule: LearningRateSchedule = WarmupStable(1)) -> OptimizerSettings:  # noqa: B008
    return OptimizerSettings(
        peak=PEAK, schedule=schedule, weight_decay=DECAY, gradient_clip=1.0, precision="fp32"
    )


def test_a_stable_schedule_rises_in_equal_steps_to_the_peak_and_stays_there() -> None:
    schedule = WarmupStable(4)
    assert [schedule(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert {schedule(step) for step in (4, 5, 1_000_000)} == {1.0}


def test_a_decay_falls_with_the_root_of_the_steps_to_nearly_zero() -> None:
    schedule = Decay(99)
    assert schedule(0) == pytest.approx(0.9)
    assert schedule(24) == pytest.approx(0.5)
    assert schedule(48) == pytest.approx(1.0 - math.sqrt(0.49))
    assert 0.0 < schedule(98) < 0.01


def test_fine_tuning_warms_up_in_a_tenth_of_its_steps_and_falls_linearly() -> None:
    schedule = WarmupDecay(100)
    assert [schedule(step) for step in range(10)] == pytest.approx(
        [(step + 1) / 10 for step in range(10)]
    )
    rest = [schedule(step) for step in range(10, 100)]
    falls = [before - after for before, after in itertools.pairwise(rest)]
    assert falls == pytest.approx([1 / 91] * 89)
    assert rest[0] == pytest.approx(90 / 91)
    assert rest[-1] == pytest.approx(1 / 91)
    assert WarmupDecay(5)(0) == 1.0  # fewer than ten steps still warm up in one


def group_of(optimizer: torch.optim.AdamW, parameter: nn.Parameter) -> dict[str, Any]:
    """The settings of the group that has a parameter."""
    (group,) = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    return group


def test_each_weight_has_the_settings_times_its_scale() -> None:
    model = nn.Linear(3, 2)
    scales = {
        "weight": WeightScale(learning_rate=0.5, weight_decay=2.0, epsilon=0.25),
        "bias": WeightScale(epsilon=4.0),
    }
    optimizer = make_optimizer(model, scales, settings())
    weight, bias = (group_of(optimizer, p) for p in (model.weight, model.bias))
    assert (weight["peak"], bias["peak"]) == (PEAK / 2, PEAK)
    assert (weight["weight_decay"], bias["weight_decay"]) == (2 * DECAY, 0.0)
    assert (weight["eps"], bias["eps"]) == (0.25 * EPSILON, 4 * EPSILON)
    assert optimizer.defaults["betas"] == (0.9, 0.98)


def test_weights_of_equal_settings_share_a_group() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    scales = {f"{layer}.{kind}": WeightScale() for layer in (0, 1) for kind in ("weight", "bias")}
    (group,) = make_optimizer(model, scales, settings()).param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


def rates_of(schedule: LearningRateSchedule, *, steps: int) -> list[tuple[float, ...]]:
    """Learning rates of two groups at each step that is trained."""
    model = nn.Linear(3, 2)
    scales = {"weight": WeightScale(learning_rate=4.0), "bias": WeightScale()}
    optimizer = make_optimizer(model, scales, settings(schedule))
    rates: list[tuple[float, ...]] = []

    def loss_at(model: nn.Module, *_: object) -> torch.Tensor:
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        return torch.stack([p.square().mean() for p in model.parameters()]).mean()

    train(
        Replica(model, optimizer, loss_at, settings(schedule), seed=0),
        TrainingProgress(),
        to_step=steps,
        steps_at_once=steps,
        name="test",
        checkpoint_seconds=lambda: 1e9,
        checkpoint=lambda _: None,
    )
    return rates


@pytest.mark.parametrize("schedule", [WarmupStable(3), Decay(6), WarmupDecay(6)], ids=str)
def test_training_multiplies_the_peak_of_each_group_by_the_schedule(
    schedule: LearningRateSchedule,
) -> None:
    expected = [(PEAK * 4 * schedule(step), PEAK * schedule(step)) for step in range(6)]
    for rates, wanted in zip(rates_of(schedule, steps=6), expected, strict=True):
        assert rates == pytest.approx(wanted)


def test_each_stage_has_its_own_peak_and_schedule(
    make_search: Callable[..., SearchFile], tmp_path_factory: pytest.TempPathFactory
) -> None:
    search = make_search(
        training__learning_rate=4e-3,
        training__fine_tuning__learning_rate=5e-4,
        training__warmup_fraction=0.35,
        training__weight_decay=0.03,
        training__gradient_clip=0.7,
    )
    data = prepare(search.data, search.task, tmp_path_factory.getbasetemp() / "prepared")
    configuration = Configuration(Architecture.of(1, 32), 40, Compression())
    fine_tuning, decay, stable = make_task(search, data).path(configuration).chain

    def of(path: TrainingPath) -> tuple[float, LearningRateSchedule]:
        return path.optimizer_settings.peak, path.optimizer_settings.schedule

    assert of(stable) == (4e-3, WarmupStable(7))  # 0.35 of the 20 steps of the smallest budget
    assert of(decay) == (4e-3, Decay(decay.length))
    assert of(fine_tuning) == (5e-4, WarmupDecay(fine_tuning.length))
    for path in (stable, decay, fine_tuning):
        assert path.optimizer_settings.weight_decay == 0.03
        assert path.optimizer_settings.gradient_clip == 0.7
