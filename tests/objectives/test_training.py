"""Training paths: they resume to the step, share the store, and fail in named states."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.data.prepare import prepare
from objectives.failures import TrialFailure
from objectives.store import heartbeat
from objectives.store.manifest import CHECKPOINTS
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.tasks.base import Task
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.path import TrainingCost, TrainingPath, TrainingState
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from tests.disks import fill, small_disk

CPU = torch.device("cpu")
ARCHITECTURE = Architecture.of(1, 32)


@pytest.fixture
def task(make_search: Callable[..., SearchFile], tmp_path_factory: Any) -> Task:
    search = make_search()
    folder = tmp_path_factory.getbasetemp() / "prepared"
    return make_task(search, prepare(search.data, search.task, folder))


def configuration(budget: float) -> Configuration:
    return Configuration(ARCHITECTURE, budget, Compression())


def most_steps(path: TrainingPath) -> int:
    return sum(stage.length for stage in path.chain)


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return state.model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_second_budget_continues_from_the_first(task: Task, tmp_path: Path) -> None:
    short = task.path(configuration(20))
    long = task.path(configuration(40))
    alone, _ = trainer(tmp_path / "alone").train(long)
    _, first = trainer(tmp_path / "shared").train(short)
    state, second = trainer(tmp_path / "shared").train(long)

    assert first.steps_reused == 0
    assert second.steps_reused == 16  # the stable part of the shorter budget
    assert second.steps_trained == most_steps(long) - 16
    assert second.seconds_saved > 0
    assert same(weights(state), weights(alone))


def test_a_long_run_contains_the_short_ones(task: Task, tmp_path: Path) -> None:
    alone, _ = trainer(tmp_path / "alone").train(task.path(configuration(20)))
    trainer(tmp_path / "shared").train(task.path(configuration(40)))
    state, cost = trainer(tmp_path / "shared").train(task.path(configuration(20)))
    assert cost.steps_reused == 16  # the stable part of the shorter budget
    assert same(weights(state), weights(alone))


def test_a_finished_training_is_not_run_again(task: Task, tmp_path: Path) -> None:
    path = task.path(configuration(20))
    first, _ = trainer(tmp_path).train(path)
    again, cost = trainer(tmp_path).train(interrupted(path, at=0))
    assert cost == TrainingCost(0, most_steps(path), 0.0, cost.seconds_saved)
    assert same(weights(first), weights(again))


def test_a_validation_under_other_conditions_is_measured_again(task: Task, tmp_path: Path) -> None:
    path = task.path(configuration(20))
    first, _ = trainer(tmp_path).train(path)
    other = replace(path, validate=lambda _: {"score": 2.0}, validated_by={"beams": 4})
    for _ in range(2):
        state, cost = trainer(tmp_path).train(other)
        assert state.validation == {"score": 2.0}
        assert cost.steps_trained == 0
    again, _ = trainer(tmp_path).train(interrupted(replace(path, validate=other.validate), at=0))
    assert again.validation == first.validation != {"score": 2.0}


def test_the_optimiser_is_freed_before_a_finished_model_is_validated(
    task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(20))
    seen = []

    def validate(model: nn.Module) -> dict[str, float]:
        known = {id(each) for each in model.parameters()}
        optimizers = [each for each in gc.get_objects() if isinstance(each, torch.optim.AdamW)]
        own = [each for each in optimizers if id(each.param_groups[0]["params"][0]) in known]
        seen.extend(each.state for each in own)
        assert all(each.grad is None for each in model.parameters())
        return {"score": 1.0}

    trainer(tmp_path).train(replace(path, validate=validate))
    assert [len(each) for each in seen] == [0]


@pytest.mark.parametrize("left", [(), ("model.safetensors",)])
def test_a_checkpoint_that_is_removed_while_it_is_read_is_trained_again(
    left: tuple[str, ...], task: Task, tmp_path: Path
) -> None:
    stable = task.path(configuration(20)).chain[-1]
    first, _ = trainer(tmp_path).train(stable)

    def build() -> nn.Module:
        # Another process frees disk space, between two files that are read.
        for file in (tmp_path / stable.address).glob("*"):
            if file.name not in left:
                file.unlink()
        return stable.build()

    again, cost = trainer(tmp_path).train(replace(stable, build=build))
    assert cost.steps_trained == stable.length
    assert again.optimizer.state
    assert same(weights(first), weights(again))


def test_a_damaged_checkpoint_is_not_used(task: Task, tmp_path: Path) -> None:
    path = task.path(configuration(20))
    first, _ = trainer(tmp_path).train(path)
    file = tmp_path / path.address / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again, cost = trainer(tmp_path).train(path)
    assert cost.steps_trained == path.length
    assert same(weights(first), weights(again))


def flipped(folder: Path, _: Path) -> None:
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncated(folder: Path, _: Path) -> None:
    file = folder / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def zeroed(folder: Path, _: Path) -> None:
    for file in folder.iterdir():
        data = file.read_bytes()
        file.write_bytes(data[:-50] + bytes(50))


def swapped(folder: Path, other: Path) -> None:
    aside = folder.with_name("aside")
    folder.rename(aside)
    other.rename(folder)
    aside.rename(other)


@pytest.mark.parametrize("damage", [flipped, truncated, zeroed, swapped])
def test_a_damaged_resume_point_is_trained_again_from_the_one_before(
    damage: Callable[[Path, Path], None], task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(40))
    while path.parent is not None:
        path = path.parent
    whole, _ = trainer(tmp_path / "whole").train(path)
    folder = tmp_path / "cut"
    for key in (path.key, "another"):
        with pytest.raises(Interruption):
            trainer(folder, every=1e-9).train(replace(interrupted(path, at=23), key=key))
    store = Store(str(folder))
    assert store.checkpoint_steps(path.key)[-2:] == [22, 23]

    damage(folder / path.address_at(23), folder / replace(path, key="another").address_at(23))
    resumed, cost = trainer(folder, every=1e-9).train(path)

    assert cost.steps_trained == path.length - 22
    assert same(weights(whole), weights(resumed))
    assert store.checkpoint_steps(path.key) == sorted(
        {*path.milestones, path.length} & {*range(33)}
    )


def test_a_full_disk_pauses_training_and_no_step_is_done_twice(task: Task, tmp_path: Path) -> None:
    path = task.path(configuration(20))
    whole, _ = trainer(tmp_path / "whole").train(path)
    asked: list[int] = []
    with small_disk(tmp_path / "disk", size_bytes=8 << 20) as disk:
        ballast = disk / "ballast"

        def loss_at(model: nn.Module, step: int, *_: object) -> torch.Tensor:
            asked.append(step)
            if len(asked) == 3:
                fill(disk)
            return path.loss_at(model, step)

        def free_disk(_: str, is_paused: bool) -> None:
            if is_paused:
                steps_at_pause.append(len(asked))
                if len(steps_at_pause) == 3:
                    ballast.unlink()

        steps_at_pause: list[int] = []
        with heartbeat.listening(free_disk):
            state, cost = trainer(disk / "store", every=1e-9).train(replace(path, loss_at=loss_at))
        assert Store(str(disk / "store")).checkpoint_steps(path.key)[-1] == path.length
    assert steps_at_pause == [3, 3, 3]
    assert asked == list(range(path.length))
    assert cost.steps_trained == most_steps(path)
    assert same(weights(whole), weights(state))


def test_a_resume_point_that_is_a_milestone_of_another_search_is_kept(
    task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(40))
    while path.parent is not None:
        path = path.parent
    with pytest.raises(Interruption):
        trainer(tmp_path, every=1e-9).train(interrupted(path, at=11))
    trainer(tmp_path).train(replace(path, milestones=(11,)))
    assert 11 in Store(str(tmp_path)).checkpoint_steps(path.key)


def test_resume_points_are_removed_once_a_later_one_is_stored(task: Task, tmp_path: Path) -> None:
    path = task.path(configuration(20))
    trainer(tmp_path, every=1e-9).train(path)
    left = sorted(entry.address for entry in Store(str(tmp_path)).entries(CHECKPOINTS))
    assert path.parent is not None
    assert path.parent.parent is not None
    assert left == sorted([path.address, path.parent.address, path.parent.parent.address])


def test_a_model_that_learns_beats_chance(task: Task, tmp_path: Path) -> None:
    state, _ = trainer(tmp_path).train(task.path(configuration(40)))
    assert task.score(state.model, "validation").low > 0.5


@pytest.mark.parametrize(("factor", "state"), [(float("nan"), "not_finite"), (1e6, "diverged")])
def test_training_that_breaks_down_fails_in_a_named_state(
    factor: float, state: str, task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(20))
    real = path.loss_at
    broken = replace(
        path, loss_at=lambda model, step, *_: real(model, step) * (factor if step >= 10 else 1.0)
    )
    with pytest.raises(TrialFailure) as caught:
        trainer(tmp_path).train(broken)
    assert caught.value.state == state
    assert path.address not in Store(str(tmp_path)).addresses(CHECKPOINTS)


def test_a_step_that_is_not_finite_ends_training_soon_and_is_in_no_checkpoint(
    task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(40))
    real, asked = path.loss_at, []

    def loss_at(model: nn.Module, step: int, *_: object) -> torch.Tensor:
        asked.append(step)
        return real(model, step) * (float("nan") if step == 13 else 1.0)

    with pytest.raises(TrialFailure) as caught:
        trainer(tmp_path / "seldom").train(replace(path, loss_at=loss_at))
    assert "step 13" in caught.value.message
    assert max(asked) == 19

    with pytest.raises(TrialFailure):
        trainer(tmp_path / "often", every=1e-9).train(replace(path, loss_at=loss_at))
    assert max(Store(str(tmp_path / "often")).checkpoint_steps(path.key)) == 13


def test_a_resumed_run_has_the_points_of_its_curve_at_the_same_steps(
    task: Task, tmp_path: Path
) -> None:
    path = task.path(configuration(40))
    whole, _ = trainer(tmp_path / "whole").train(path)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=17))
    resumed, _ = trainer(tmp_path / "cut").train(path)
    assert [step for step, _ in resumed.progress.curve] == [
        step for step, _ in whole.progress.curve
    ]


def test_everything_that_determines_the_weights_is_in_the_key(
    make_search: Callable[..., SearchFile], tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "prepared"

    def keys(**fields: Any) -> set[str]:
        search = make_search(**fields)
        path = make_task(search, prepare(search.data, search.task, folder)).path(
            replace(configuration(20), seed=search.seed)
        )
        assert path.parent is not None
        return {path.key, path.parent.key}

    base = keys()
    for field, value in {
        "seed": 1,
        "training__learning_rate": 1e-2,
        "training__batch_size": 8,
        "training__warmup_fraction": 0.2,
        "training__weight_decay": 0.1,
        "training__gradient_clip": 0.5,
        "training__decay_fraction": 0.3,
        "data__vocabulary_size": 390,
    }.items():
        assert base.isdisjoint(keys(**{field: value})), field
    assert base == keys(trials=50, training__checkpoint_seconds=5.0)
