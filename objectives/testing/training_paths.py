"""Training that a test interrupts and continues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from objectives.data.batches import WHOLE_BATCH, BatchShard
from objectives.store.store import Store
from objectives.training.path import StepLoss, TrainingPath
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer


class Interruption(Exception):
    """Stands for a process that is killed during training."""


def trainer(folder: Path, *, every: float = 1e9) -> Trainer:
    """A trainer on the CPU with a store of its own, and the seconds between its checkpoints."""
    process = TrainingProcess(torch.device("cpu"))
    return Trainer(Store(str(folder)), process, checkpoint_seconds=every)


def interrupted(path: TrainingPath, *, at: int, stage: str = "") -> TrainingPath:
    """The path with a loss that raises ``Interruption`` at a step.

    Args:
        stage: Name of the stage that the step is of; by default the last one.
    """
    if stage not in ("", path.name):
        assert path.parent is not None, f"no stage {stage}"
        return replace(path, parent=interrupted(path.parent, at=at, stage=stage))

    def stopping(real: StepLoss) -> StepLoss:
        def loss_at(model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
            if step == at:
                raise Interruption
            return real(model, step, shard)

        return loss_at

    taught = path.taught_loss
    return replace(
        path,
        loss_at=stopping(path.loss_at),
        taught_loss=None if taught is None else lambda teacher: stopping(taught(teacher)),
    )
