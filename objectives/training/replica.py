"""Replicas: what each process trains of a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from objectives.training.optimizer import OptimizerSettings
from objectives.training.path import TrainingPath, TrainingState
from spaces.cost.architecture import Architecture

ReplicaLoss = Callable[[nn.Module, int], torch.Tensor]


@dataclass(frozen=True)
class Replica:
    """What a process trains of a model.

    Args:
        model: The model, or this process's shard of it.
        loss_at: Loss on the batch of a step; its gradient is that of this process's shard of it.
        seed: Seed of dropout.
        collect: Copies what was trained into the model and optimiser of the ``TrainingState``.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    loss_at: ReplicaLoss
    settings: OptimizerSettings
    seed: int
    collect: Callable[[], None] = lambda: None


def frozen(teacher: nn.Module) -> nn.Module:
    """A teacher, which predicts without dropout and is not trained."""
    return teacher.eval().requires_grad_(False)


class TrainingProcess:
    """This process, which trains alone unless it is one of a ``WorkerGroup``."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._device

    def state_device(self, _: Architecture) -> torch.device:
        """Where the ``TrainingState`` of a model is kept."""
        return self._device

    def replica(
        self, path: TrainingPath, state: TrainingState, teacher: nn.Module | None = None
    ) -> AbstractContextManager[Replica]:
        """What this process trains, for the time in which all processes train a path.

        Args:
            path: The path.
            state: From where; ``Replica.collect`` updates its model and optimiser.
            teacher: The model at the end of the path's teacher, where it has one.
        """
        loss_at = path.step_loss(teacher)
        return nullcontext(
            Replica(state.model, state.optimizer, loss_at, path.optimizer_settings, path.seed)
        )
