"""Fine-tuning stops early, ends with the weights of its best epoch, and resumes to the step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from objectives.data.errors import DataError
from objectives.data.held_out import hold_out
from objectives.data.prepare import prepare
from objectives.data.prepared_data import LabelledTexts
from objectives.objective import Objective
from objectives.store.manifest import CHECKPOINTS
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.path import TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile

CONFIGURATION = Configuration(Architecture.of(1, 32), 20, Compression())
SETTINGS = {
    "epochs": 9, "patience": 2, "held_out": 0.2, "learning_rate": 4e-3, "dropout": 0.1,
    "token_dropout": 0.1, "r_drop": 0.5,
}  # fmt: skip


@pytest.fixture
def search(
    random_labels: Path, make_search: Callable[..., SearchFile]
) -> Callable[..., SearchFile]:
    """A search in which training stops early."""
    return lambda **fields: make_search(
        data__labelled__train=str(random_labels), training__fine_tuning={**SETTINGS}, **fields
    )


@pytest.fixture
def path(search: Callable[..., SearchFile], tmp_path: Path) -> TrainingPath:
    made = search()
    return make_task(made, prepare(made.data, made.task, tmp_path / "data")).path(CONFIGURATION)


def test_training_stops_and_ends_with_the_weights_of_its_best_epoch(
    path: TrainingPath, tmp_path: Path
) -> None:
    state, cost = trainer(tmp_path).train(path)
    epochs = state.held_out.evaluations
    scores = [epoch["score"] for epoch in epochs]
    assert len(epochs) < SETTINGS["epochs"]
    assert scores.index(max(scores)) == len(scores) - 1 - SETTINGS["patience"]
    assert [epoch["step"] for epoch in epochs] == [20 * (k + 1) for k in range(len(epochs))]
    best = epochs[scores.index(max(scores))]
    assert path.early_stopping is not None
    assert {"step": best["step"], **path.early_stopping.evaluate(state.model)} == best
    # The record says how many steps were taken, and not how many there could have been.
    assert state.progress.step == 20 * len(epochs)
    assert cost.steps_trained == 20 + state.progress.step

    again, cost = trainer(tmp_path).train(interrupted(path, at=0))
    assert (cost.steps_trained, cost.steps_reused) == (0, 20 + state.progress.step)
    assert again.held_out.evaluations == epochs
    assert path.early_stopping.evaluate(again.model)["loss"] == best["loss"]


@pytest.mark.parametrize(
    "after_best", [0, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (7, 20))]
)
def test_a_killed_run_resumes_to_the_same_weights(
    after_best: int, path: TrainingPath, tmp_path: Path
) -> None:
    whole, _ = trainer(tmp_path / "whole").train(path)
    best = max(whole.held_out.evaluations, key=lambda epoch: epoch["score"])
    killed_at = int(best["step"]) + after_best
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=killed_at))
    resumed, cost = trainer(tmp_path / "cut").train(path)

    assert cost.steps_trained == whole.progress.step - killed_at
    assert resumed.held_out.evaluations == whole.held_out.evaluations
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # Neither resume points nor the copies of the best weights are left.
    store = Store(str(tmp_path / "cut"))
    assert store.checkpoint_steps(path.key) == [path.length]
    names = {name for entry in store.entries(CHECKPOINTS) for name in entry.files}
    assert "best.safetensors" not in names


@pytest.mark.usefixtures("home")
def test_an_evaluation_counts_the_steps_that_were_taken(
    search: Callable[..., SearchFile],
) -> None:
    objective = Objective(search())
    result = objective.evaluate(CONFIGURATION)
    taken = [stage["steps"] for stage in result.stages]
    assert taken[-1] < 20 * SETTINGS["epochs"]
    assert result.steps["total"] == sum(taken)
    again = objective.evaluate(CONFIGURATION)
    assert again.steps == {"total": sum(taken), "trained": 0, "reused": sum(taken)}
    assert again.training_flops == result.training_flops


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 8),
        ("patience", 3),
        ("held_out", 0.25),
        ("learning_rate", 1e-3),
        ("dropout", 0.2),
        ("label_smoothing", 0.2),
        ("token_dropout", 0.2),
        ("r_drop", 1.0),
    ],
)
def test_everything_that_determines_fine_tuning_is_in_the_key(
    field: str, value: Any, path: TrainingPath, search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    other = search(**{f"training__fine_tuning__{field}": value})
    data = prepare(other.data, other.task, tmp_path / "data")
    changed = make_task(other, data).path(CONFIGURATION)
    assert changed.key != path.key
    assert changed.parent is not None
    assert path.parent is not None
    assert changed.parent.key == path.parent.key


def test_without_held_out_examples_all_are_trained_on_for_all_epochs(
    search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    made = search(training__fine_tuning__held_out=0, training__fine_tuning__epochs=2)
    path = make_task(made, prepare(made.data, made.task, tmp_path / "data")).path(CONFIGURATION)
    assert path.epoch.examples == 400
    state, _ = trainer(tmp_path).train(path)
    assert state.progress.step == path.length == 2 * 25
    assert state.held_out.evaluations == []
    assert set(state.validation) == {"score", "loss"}


def examples_of(tokens: Any, groups: Any) -> LabelledTexts:
    zeros = np.zeros(len(tokens), dtype=np.int32)
    return LabelledTexts(tokens, zeros, zeros, np.asarray(groups))


def test_another_part_is_held_out_for_each_seed() -> None:
    tokens = np.arange(2000, dtype=np.int32).reshape(500, 4)
    examples = examples_of(tokens, range(500))
    trained, held_out = hold_out(examples, 50, seed=1)
    assert sorted([*trained, *held_out]) == list(range(500))
    assert len(held_out) == 50
    assert [*hold_out(examples, 50, seed=1)[1]] == [*held_out]
    assert [*hold_out(examples, 50, seed=2)[1]] != [*held_out]


def test_groups_are_held_out_whole_unless_they_are_too_large() -> None:
    tokens = np.arange(2000, dtype=np.int32).reshape(500, 4)
    groups = np.arange(500) // 7
    trained, held_out = hold_out(examples_of(tokens, groups), 50, seed=1)
    assert not {*groups[trained]} & {*groups[held_out]}
    assert 44 <= len(held_out) <= 50
    # Of groups of 210 examples, none is held out whole; but equal examples stay together.
    tokens //= 8
    trained, held_out = hold_out(examples_of(tokens, groups // 30), 50, seed=1)
    assert len(held_out) == 50
    assert not {*map(tuple, tokens[trained])} & {*map(tuple, tokens[held_out])}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"training__fine_tuning__held_out": 0.02}, r"held_out: 0\.02 of 400 .* only 8; .* 10"),
        (
            {"training__batch_size": 320, "training__fine_tuning__epochs": 4},
            r"epochs: 4 of 400 .* batches of 320 are only 4 steps; .* 10",
        ),
    ],
)
def test_too_few_examples_are_refused(
    fields: dict[str, Any], fault: str, search: Callable[..., SearchFile], tmp_path: Path
) -> None:
    made = search(**fields)
    data = prepare(made.data, made.task, tmp_path / "data")
    with pytest.raises(DataError, match=fault):
        make_task(made, data)


def test_what_is_held_out_has_each_class_as_often() -> None:
    tokens = np.arange(2000, dtype=np.int32).reshape(500, 4)
    labels = np.asarray([0] * 450 + [1] * 50, dtype=np.int32)
    zeros = np.zeros(500, dtype=np.int32)
    examples = LabelledTexts(tokens, zeros, labels, np.arange(500))
    for seed in range(5):
        _, held_out = hold_out(examples, 50, seed=seed)
        assert np.bincount(labels[held_out]).tolist() == [45, 5]
