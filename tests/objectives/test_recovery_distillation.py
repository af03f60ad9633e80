"""Recovery that learns from the model before compression."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.completion import completed
from objectives.data.batches import BatchShard
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.path import TrainingPath
from objectives.training.recovery import recovery_path
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.errors import UserError
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError, validate
from tests.own_package import own_document, write_package

PRUNED = Compression(Quantisation.RTN_2, sparsity=0.5, recovery=12.0)
MASKED = Compression(pruning=Pruning.UNSTRUCTURED, sparsity=0.5, recovery=12.0)
RECOVERY = {"choices": [0.0, 12.0, 60.0]}
TASKS = (
    "classification", "pairs", "masked-lm", "causal-lm", "translation", "summarisation",
    "image-classification",
)  # fmt: skip

MakeTaskSearch = Callable[..., SearchFile]


def configuration(compression: Compression) -> Configuration:
    return Configuration(Architecture.of(1, 32, decoder_depth=1), 20, compression)


@pytest.fixture
def recovery(make_task_search: MakeTaskSearch, tmp_path: Path) -> Callable[..., TrainingPath]:
    """The recovery of a task with some settings of distillation."""

    def make(task: str, compression: Compression = MASKED, **settings: float) -> TrainingPath:
        search = make_task_search(
            task, space__recovery=RECOVERY, training__recovery_distillation=settings
        )
        made = make_task(search, prepare_for(search, tmp_path / "prepared"))
        asked = configuration(compression)
        return recovery_path(made, made.stages, asked, made.path(asked), made.calibration())

    return make


def models(path: TrainingPath) -> tuple[nn.Module, nn.Module]:
    """Two models of the architecture before pruning, with other weights."""
    assert path.parent is not None
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(path.parent.build().eval())
    return found[0], found[1]


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_predicts_as_its_teacher_has_no_loss(
    task: str, recovery: Callable[..., TrainingPath]
) -> None:
    path = recovery(task, temperature=2.0)
    model, teacher = models(path)
    torch.nn.init.normal_(next(teacher.parameters()), std=0.5)
    loss_at = path.step_loss(teacher)
    assert loss_at(teacher, 3).item() == pytest.approx(0.0, abs=1e-6)
    loss = loss_at(model, 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss > 1e-5
    assert all(weight.grad is None for weight in teacher.parameters())
    # The mean over the shards of a batch is the loss of the batch.
    shards = [loss_at(model, 3, BatchShard(index, 4)) for index in range(4)]
    torch.testing.assert_close(torch.stack(shards).mean(), loss, atol=1e-7, rtol=1e-4)


def test_the_weight_mixes_the_divergence_with_the_loss_of_the_labels(
    recovery: Callable[..., TrainingPath],
) -> None:
    alone, mixed = (recovery("translation", weight=weight) for weight in (1.0, 0.25))
    model, teacher = models(alone)
    divergence, loss = (path.step_loss(teacher)(model, 3).item() for path in (alone, mixed))
    without = recovery("translation", weight=1e-12)
    of_labels = without.step_loss(teacher)(model, 3).item()
    assert of_labels > 2.0
    assert loss == pytest.approx(0.75 * of_labels + 0.25 * divergence, rel=1e-4)


def test_the_teacher_is_needed(recovery: Callable[..., TrainingPath]) -> None:
    path = recovery("causal-lm")
    with pytest.raises(ValueError, match="teacher's model"):
        path.step_loss(None)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_it_trains_only_the_recovery_anew(make_task_search: MakeTaskSearch) -> None:
    heavy = Compression(Quantisation.RTN_3, 32, Pruning.UNSTRUCTURED, 0.9)
    usual = Objective(make_task_search("causal-lm", space__recovery=RECOVERY))
    taught = Objective(
        make_task_search("causal-lm", space__recovery=RECOVERY, training__recovery_distillation={})
    )
    asked = configuration(replace(heavy, recovery=60.0))
    pruned = usual.evaluate(configuration(heavy))
    of_labels, of_teacher = usual.evaluate(asked), taught.evaluate(asked)
    # It comes closer to its teacher than to the pruned model.
    assert of_teacher.loss - of_teacher.dense_loss < 0.5 * (pruned.loss - pruned.dense_loss)
    assert of_teacher.loss != of_labels.loss
    # Each of them is in the store.
    assert [usual.test(each.model) for each in (of_labels, of_teacher)].count(
        usual.test(of_labels.model)
    ) == 1
    assert of_teacher.steps == {"total": 80, "trained": 60, "reused": 20}
    assert of_teacher.dense_loss == of_labels.dense_loss
    # A step has the forward pass of the teacher beside its own three.
    steps = [each.training_flops - each.dense_training_flops for each in (of_labels, of_teacher)]
    assert steps[1] == pytest.approx(4 / 3 * steps[0])
    # Without recovery there is nothing that it changes.
    assert taught.evaluate(configuration(heavy)).checkpoint == pruned.checkpoint


def test_it_resumes_exactly(recovery: Callable[..., TrainingPath], tmp_path: Path) -> None:
    whole, _ = trainer(tmp_path / "whole").train(recovery("masked-lm", PRUNED))
    cut = interrupted(recovery("masked-lm", PRUNED), at=7)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(cut)
    resumed, cost = trainer(tmp_path / "cut").train(recovery("masked-lm", PRUNED))
    assert cost.steps_trained == 5
    expected, found = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_its_settings_are_in_the_key_of_the_recovery_alone(
    recovery: Callable[..., TrainingPath],
) -> None:
    paths = [
        recovery("classification", **settings)
        for settings in ({}, {"temperature": 2.0}, {"weight": 0.5})
    ]
    assert len({path.key for path in paths}) == 3
    assert len({path.parent.key for path in paths if path.parent}) == 1


def test_it_is_refused_where_no_model_recovers(make_task_search: MakeTaskSearch) -> None:
    with pytest.raises(SearchFileError, match=r"training\.recovery_distillation: no model of"):
        make_task_search("causal-lm", training__recovery_distillation={})
    with pytest.raises(SearchFileError, match="recovery_distillation cannot be searched"):
        make_task_search("causal-lm", space__training={"recovery_distillation": {"weight": 0.5}})


LOSS = (
    "    def model(",
    "    def loss(self, model, batch):\n"
    "        logits = model(batch['input_ids']).logits\n"
    "        return (logits.softmax(-1)[:, 0] - 1.0 * batch['KEY']).square().mean()\n\n"
    "    def scores(self, model, batch):\n"
    "        return (model(batch['input_ids']).logits.argmax(-1) == batch['KEY']).float()\n\n"
    "    def model(",
)
TARGETS = (
    "    def model(",
    "    def targets(self, batch):\n        return batch['first']\n\n    def model(",
)


@pytest.fixture
def open_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SearchFile]:
    """Open a search of a package of one's own, with changes, whose recovery is taught."""
    monkeypatch.syspath_prepend(tmp_path)

    def opened(name: str, *changes: tuple[str, str]) -> SearchFile:
        write_package(tmp_path, name, *changes)
        importlib.invalidate_caches()
        document: dict[str, Any] = own_document(name)
        document["space"]["recovery"] = RECOVERY
        document["training"]["recovery_distillation"] = {}
        search, _ = completed(validate(document), tmp_path / "data")
        return search

    return opened


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_the_models_of_ones_own_task_learn_from_their_logits(
    open_taught: Callable[..., SearchFile],
) -> None:
    for name, changes in {
        "of_labels": (),
        "own_loss": (LOSS, ("KEY", "labels")),
        "own_targets": (('"labels"', '"first"'), LOSS, ("KEY", "first"), TARGETS),
    }.items():
        found = Objective(open_taught(name, *changes)).evaluate(configuration(PRUNED))
        assert found.steps["trained"] == 32


@pytest.mark.parametrize(
    ("name", "message", "changes"),
    [
        ("no_labels", "no array labels", (('"labels"', '"first"'), LOSS, ("KEY", "first"))),
        (
            "of_numbers",
            "two classes or more",
            (('"labels": tokens[:, 0]', '"labels": 0.5 * tokens[:, 0]'), LOSS, ("KEY", "labels")),
        ),
    ],
)
def test_a_task_without_classes_is_refused_by_name(
    name: str,
    message: str,
    changes: tuple[tuple[str, str], ...],
    open_taught: Callable[..., SearchFile],
) -> None:
    with pytest.raises(UserError, match=rf"training\.recovery_distillation: .*{message}"):
        open_taught(name, *changes)
