"""Recovery that replaces the last stage of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from objectives.objective import Objective
from objectives.tasks import make_task, prepare_for
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.path import TrainingPath
from objectives.training.recovery import recovery_path
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError

ASKED = Configuration(
    Architecture.of(1, 32), 20, Compression(Quantisation.RTN_2, sparsity=0.5, recovery=12.0)
)

MakeTaskSearch = Callable[..., SearchFile]


def search_of(make: MakeTaskSearch, task: str, start: str = "last-stage") -> SearchFile:
    recoveries = {"choices": [0.0, 12.0]}
    return make(task, space__recovery=recoveries, training__recovery_start=start)


@pytest.fixture
def recovery(make_task_search: MakeTaskSearch, tmp_path: Path) -> Callable[..., TrainingPath]:
    """The recovery of a task."""

    def make(task: str, start: str = "last-stage") -> TrainingPath:
        search = search_of(make_task_search, task, start)
        made = make_task(search, prepare_for(search, tmp_path / "prepared"))
        return recovery_path(made, made.stages, ASKED, made.path(ASKED), made.calibration())

    return make


@pytest.mark.parametrize(
    ("task", "before", "last"),
    [("masked-lm", "stable", "decay"), ("classification", "decay", "fine-tuning")],
)
def test_it_starts_before_the_last_stage_and_has_its_learning_rate(
    task: str, before: str, last: str, recovery: Callable[..., TrainingPath]
) -> None:
    path, usual = recovery(task), recovery(task, "end")
    assert path.parent is not None
    assert usual.parent is not None
    assert (path.parent.name, usual.parent.name) == (before, last)
    assert path.length == usual.length
    assert path.optimizer_settings.peak == usual.parent.optimizer_settings.peak
    assert path.key != usual.key


@pytest.mark.parametrize("task", ["masked-lm", "classification"])
def test_it_resumes_exactly(
    task: str, recovery: Callable[..., TrainingPath], tmp_path: Path
) -> None:
    whole, _ = trainer(tmp_path / "whole").train(recovery(task))
    cut = interrupted(recovery(task), at=7)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(cut)
    resumed, cost = trainer(tmp_path / "cut").train(recovery(task))
    assert cost.steps_trained == 5
    expected, found = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.usefixtures("home")
def test_it_costs_as_much_as_a_recovery_at_the_end(make_task_search: MakeTaskSearch) -> None:
    replacing = Objective(search_of(make_task_search, "masked-lm")).evaluate(ASKED)
    assert replacing.steps == {"total": 32, "trained": 32, "reused": 0}
    assert [stage["name"] for stage in replacing.stages] == ["stable", "recovery"]
    assert all(replacing.seconds[name] > 0.0 for name in ("stable", "cooldown", "recovery"))
    usual = Objective(search_of(make_task_search, "masked-lm", "end")).evaluate(ASKED)
    assert usual.steps == {"total": 32, "trained": 12, "reused": 20}
    assert usual.training_flops == replacing.training_flops
    assert usual.dense_loss == replacing.dense_loss
    assert usual.loss != replacing.loss
    again = Objective(search_of(make_task_search, "masked-lm")).evaluate(ASKED)
    assert again.steps == {"total": 32, "trained": 0, "reused": 32}
    assert again.seconds["saved"] > 0.0


def test_it_is_refused_where_no_model_recovers(make_task_search: MakeTaskSearch) -> None:
    with pytest.raises(SearchFileError, match=r"training\.recovery_start: no model of"):
        make_task_search("masked-lm", training__recovery_start="last-stage")
