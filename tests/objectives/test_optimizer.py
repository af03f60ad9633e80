"""The learning-rate schedules, and the parameter groups of the optimiser."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from objectives.data.prepare import prepare
from objectives.tasks import make_task
from objectives.training.loop import train
from objectives.training.optimizer import (
    Decay,
    LearningRateSchedule,
    OptimizerSettings,
    WarmupDecay,
    WarmupStable,
    make_optimizer,
    matrix_scale,
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


class TinyModel(nn.Module):
    """One parameter of each kind; the head is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.patches = nn.Conv2d(3, 4, 2)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight


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


@pytest.mark.parametrize(("width", "scale"), [(32, 4.0), (128, 1.0), (512, 0.25)])
def test_the_learning_rate_of_matrices_goes_with_one_over_width(width: int, scale: float) -> None:
    assert matrix_scale(width) == scale
    matrices, others = make_optimizer(TinyModel(), width, settings()).param_groups
    assert matrices["peak"] == pytest.approx(PEAK * scale)
    assert others["peak"] == PEAK


def test_matrices_alone_are_decayed() -> None:
    model = TinyModel()
    matrices, others = make_optimizer(model, 128, settings()).param_groups
    assert [id(p) for p in matrices["params"]] == [id(model.linear.weight)]
    assert {id(p) for p in others["params"]} == {
        id(p) for p in model.parameters() if p is not model.linear.weight
    }
    assert (matrices["weight_decay"], others["weight_decay"]) == (DECAY, 0.0)


def rates_of(schedule: LearningRateSchedule, *, width: int, steps: int) -> list[tuple[float, ...]]:
    """Learning rates of both groups at each step that is trained."""
    torch.manual_seed(0)
    model = TinyModel()
    optimizer = make_optimizer(model, width, settings(schedule))
    rates: list[tuple[float, ...]] = []

    def loss_at(model: nn.Module, _: int) -> torch.Tensor:
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        return torch.stack([p.square().mean() for p in model.parameters()]).mean()

    train(
        Replica(model, optimizer, loss_at, settings(schedule), seed=0),
        TrainingProgress(),
        to_step=steps,
        name="test",
        checkpoint_seconds=1e9,
        checkpoint=lambda _: None,
    )
    return rates


@pytest.mark.parametrize("schedule", [WarmupStable(3), Decay(6), WarmupDecay(6)], ids=str)
def test_training_multiplies_the_peak_of_each_group_by_the_schedule(
    schedule: LearningRateSchedule,
) -> None:
    expected = [(PEAK * 4 * schedule(step), PEAK * schedule(step)) for step in range(6)]
    for rates, wanted in zip(rates_of(schedule, width=32, steps=6), expected, strict=True):
        assert rates == pytest.approx(wanted)


def test_each_stage_has_its_own_peak_and_schedule(
    make_search: Callable[..., SearchFile], tmp_path_factory: pytest.TempPathFactory
) -> None:
    search = make_search(
        training__learning_rate=4e-3,
        training__fine_tuning_learning_rate=5e-4,
        training__warmup_steps=7,
        training__weight_decay=0.03,
        training__gradient_clip=0.7,
    )
    data = prepare(search.data, search.task, tmp_path_factory.getbasetemp() / "prepared")
    configuration = Configuration(Architecture.of(1, 32), 40, Compression())
    fine_tuning, decay, stable = make_task(search, data).path(configuration).chain

    def of(path: TrainingPath) -> tuple[float, LearningRateSchedule]:
        return path.optimizer_settings.peak, path.optimizer_settings.schedule

    assert of(stable) == (4e-3, WarmupStable(7))
    assert of(decay) == (4e-3, Decay(decay.length))
    assert of(fine_tuning) == (5e-4, WarmupDecay(fine_tuning.length))
    for path in (stable, decay, fine_tuning):
        assert path.optimizer_settings.weight_decay == 0.03
        assert path.optimizer_settings.gradient_clip == 0.7
