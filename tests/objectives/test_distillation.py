"""Distillation: smaller models learn from the whole checkpoint, which is trained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.data.batches import logits
from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.tasks.labelled.classification_from_checkpoint import TEACHER_LOGITS
from objectives.tasks.labelled.teachers import TEACHERS
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError, from_document
from tests.checkpoint_searches import checkpoint_of, search_from
from tests.checkpoints import save_checkpoint, texts_of


@pytest.fixture(scope="module")
def alone(
    corpus: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> SearchFile:
    """A search that learns from labels alone."""
    folder = save_checkpoint(tmp_path_factory.mktemp("tiny"), "bert", texts_of(corpus))
    return search_from(folder, tmp_path_factory.mktemp("store"), document, vocabulary=150)


def distilled(search: SearchFile, **settings: float) -> SearchFile:
    values = search.to_dict()
    values["training"]["distillation"] = settings
    return from_document(values)


@pytest.fixture(scope="module")
def search(alone: SearchFile) -> SearchFile:
    return distilled(alone, weight=1.0)


@pytest.fixture(scope="module")
def student(search: SearchFile) -> Configuration:
    return Configuration(
        checkpoint_of(search).architecture(1, 32, vocabulary=150), 20.0, Compression()
    )


@pytest.fixture(scope="module")
def teacher(search: SearchFile) -> Configuration:
    return Configuration(checkpoint_of(search).architecture(4, 32), 40.0, Compression())


@pytest.fixture(scope="module")
def objective(
    search: SearchFile, student: Configuration, tmp_path_factory: pytest.TempPathFactory
) -> Objective:
    """An objective that has evaluated the student."""
    made = Objective(search, prepare_for(search, tmp_path_factory.mktemp("data")))
    made.evaluate(student)
    return made


@pytest.mark.slow
def test_the_teacher_is_the_whole_checkpoint_and_is_trained_once(
    objective: Objective, student: Configuration, teacher: Configuration
) -> None:
    found = objective.evaluate(teacher)
    assert found.steps["trained"] == 0
    other = student.with_compression(Compression(Quantisation.RTN_8))
    assert objective.evaluate(other).steps["trained"] == 0
    assert len([a for a in objective.store.addresses(TEACHERS)]) == 1


def test_the_teacher_of_a_search_without_distillation_is_the_same_model(
    alone: SearchFile, objective: Objective, teacher: Configuration
) -> None:
    usual = make_task(alone, objective.data)
    assert objective.stored_training([teacher]) == [(True, True)]
    assert usual.path(teacher).address in objective.store.addresses("checkpoints")


def test_a_student_that_predicts_as_its_teacher_has_no_loss(
    search: SearchFile, objective: Objective, student: Configuration
) -> None:
    task = make_task(search, objective.data, teachers=objective.teachers)
    model = task.build(replace(student.architecture, vocabulary=0).shape).eval()
    batch = task.batch(0)
    assert batch[TEACHER_LOGITS].shape == (8, 2)
    with torch.no_grad():
        loss = task.loss(model, batch)
        agreeing = {**batch, TEACHER_LOGITS: logits(model, batch)}
        assert loss > 1e-4
        assert task.loss(model, agreeing) == pytest.approx(0.0, abs=1e-6)


def test_the_settings_are_in_the_key_of_students_and_not_of_the_teacher(
    alone: SearchFile,
    objective: Objective,
    student: Configuration,
    teacher: Configuration,
) -> None:
    tasks = [
        make_task(distilled(alone, **settings), objective.data, teachers=objective.teachers)
        for settings in ({"weight": 1.0}, {"weight": 0.5}, {"weight": 1.0, "temperature": 3.0})
    ]
    tasks.append(make_task(alone, objective.data))
    assert len({task.path(student).key for task in tasks}) == 4
    assert len({task.path(teacher).key for task in tasks}) == 1


def test_students_of_all_settings_have_one_teacher(
    search: SearchFile, objective: Objective, student: Configuration
) -> None:
    values = search.to_dict()
    settings = {"distillation.temperature": (2.0, 3.0), "learning_rate": (1e-3, 2e-3)}
    values["space"]["training"] = {
        "learning_rate": {"choices": [1e-3, 2e-3]},
        "distillation": {"temperature": {"choices": [2.0, 3.0]}},
    }
    searched = from_document(values)
    assert searched.space.training_values == dict(reversed(settings.items()))
    made = Objective(searched, objective.data)
    last = tuple((name, values[-1]) for name, values in settings.items())
    found = made.evaluate(replace(student, training=last))
    assert found.steps["trained"] == 20
    assert len(made.store.addresses(TEACHERS)) == 1


def test_without_a_checkpoint_there_is_no_teacher(document: dict[str, Any]) -> None:
    training = {**document["training"], "distillation": {}}
    with pytest.raises(SearchFileError, match=r"training\.distillation: its teacher is a"):
        from_document({**document, "training": training})
