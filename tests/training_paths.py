"""Training that a test interrupts and continues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from objectives.store.store import Store
from objectives.training.path import TrainingPath
from objectives.training.replica import TrainingProcess
from objectives.training.trainer import Trainer


class Interruption(Exception):
    """Stands for a process that is killed during training."""


def trainer(folder: Path, *, every: float = 1e9) -> Trainer:
    """A trainer on the CPU with a store of its own, and the seconds between its checkpoints."""
    process = TrainingProcess(torch.device("cpu"))
    return Trainer(Store(str(folder)), process, checkpoint_seconds=every)


def interrupted(path: TrainingPath, *, at: int) -> TrainingPath:
    """The path with a loss that raises at a step of its last stage."""
    real = path.loss_at

    def loss_at(model: nn.Module, step: int) -> torch.Tensor:
        if step == at:
            raise Interruption
        return real(model, step)

    return replace(path, loss_at=loss_at)
