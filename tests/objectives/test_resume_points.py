"""Resume points of large models: stored seldom, while training goes on, and within the quota."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from objectives.data.batches import WHOLE_BATCH, BatchShard
from objectives.data.prepare import prepare
from objectives.store.manifest import CHECKPOINTS
from objectives.store.store import Store
from objectives.tasks import make_task
from objectives.testing.training_paths import Interruption, interrupted, trainer
from objectives.training.checkpoints import resume_points
from objectives.training.checkpoints.state_files import Snapshot
from objectives.training.path import TrainingPath
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile


@pytest.fixture
def path(make_search: Callable[..., SearchFile], tmp_path_factory: Any) -> TrainingPath:
    search = make_search()
    data = prepare(search.data, search.task, tmp_path_factory.getbasetemp() / "prepared")
    task = make_task(search, data)
    end = task.path(Configuration(Architecture.of(1, 32), 20, Compression()))
    return end.chain[-1]


@pytest.fixture
def slow_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every save counts as slow, and is allowed after each step all the same."""
    monkeypatch.setattr(resume_points, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(resume_points, "TRAINING_PER_SAVING", 0.0)


def before_step(path: TrainingPath, at: int, act: Callable[[], None]) -> TrainingPath:
    def loss_at(model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        if step == at:
            act()
        return path.loss_at(model, step, shard)

    return replace(path, loss_at=loss_at)


@pytest.mark.usefixtures("slow_saving")
def test_what_a_thread_stores_is_not_changed_by_training_that_goes_on(
    path: TrainingPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Snapshot.write

    def write_late(snapshot: Snapshot, folder: Path, **how: bool) -> None:
        time.sleep(0.05)
        write(snapshot, folder, **how)

    whole, _ = trainer(tmp_path / "whole").train(path)
    cut = path.length - 3
    monkeypatch.setattr(Snapshot, "write", write_late)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=cut))
    # While the one before the last was written, a step was done.
    Store(str(tmp_path / "cut")).remove(path.address_at(cut))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    assert cost.steps_trained == path.length - cut + 1
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


@pytest.mark.usefixtures("slow_saving")
def test_a_failure_of_the_thread_is_raised_at_the_next_resume_point(
    path: TrainingPath, tmp_path: Path
) -> None:
    def break_store() -> None:
        (tmp_path / "staging").rename(tmp_path / "elsewhere")
        (tmp_path / "staging").touch()

    with pytest.raises((OSError, SafetensorError)):
        trainer(tmp_path, every=1e-9).train(before_step(path, 4, break_store))


def test_slow_resume_points_are_stored_seldom(
    path: TrainingPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_points, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(resume_points, "TRAINING_PER_SAVING", 1e6)
    with pytest.raises(Interruption):
        trainer(tmp_path, every=1e-9).train(interrupted(path, at=8))
    assert Store(str(tmp_path)).checkpoint_steps(path.key) == [1]


@pytest.mark.parametrize(("points", "kept"), [(10.0, [7, 8]), (3.0, [8]), (0.5, [])])
def test_resume_points_take_a_part_of_the_quota(
    points: float,
    kept: list[int],
    path: TrainingPath,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Interruption):
        trainer(tmp_path / "one", every=1e-9).train(interrupted(path, at=1))
    (one,) = Store(str(tmp_path / "one")).entries(CHECKPOINTS)
    store = Store(str(tmp_path / "store"), max_bytes=points * one.size_bytes)
    process = TrainingProcess(torch.device("cpu"))
    with caplog.at_level(logging.WARNING), pytest.raises(Interruption):
        Trainer(store, process, checkpoint_seconds=1e-9).train(interrupted(path, at=8))
    assert store.checkpoint_steps(path.key) == kept
    assert ("no resume points" in caplog.text) == (kept == [])
