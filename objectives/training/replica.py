"""Replicas: what each process trains of a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from objectives.device import available_bytes
from objectives.training.optimizer import OptimizerSettings
from objectives.training.path import StepLoss, TrainingPath, TrainingState
from spaces.cost.architecture import Architecture
from spaces.cost.memory.division import WHOLE_STEP, Division


@dataclass(frozen=True)
class Replica:
    """What a process trains of a model.

    Args:
        model: The model, or this process's shard of it.
        loss_at: Loss on the batch of a step, or on a micro-batch of it; its gradient is that of
            this process's shard of it.
        seed: Seed of dropout.
        division: How this process divides a step.
        collect: Copies what was trained into the model and optimiser of the ``TrainingState``.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    loss_at: StepLoss
    settings: OptimizerSettings
    seed: int
    division: Division = WHOLE_STEP
    collect: Callable[[], None] = lambda: None


def frozen(teacher: nn.Module) -> nn.Module:
    """A teacher, which predicts without dropout and is not trained."""
    return teacher.eval().requires_grad_(False)


class TrainingProcess:
    """This process, which trains alone unless it is one of a ``WorkerGroup``.

    Args:
        device: Where it computes.
        memory_gb_of: Memory that is reserved for a worker that trains an architecture, if any.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        memory_gb_of: Callable[[Architecture], float | None] = lambda _: None,
    ) -> None:
        self._device = device
        self._memory_gb_of = memory_gb_of

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
            Replica(
                state.model,
                state.optimizer,
                loss_at,
                path.optimizer_settings,
                path.seed,
                self.division(path),
            )
        )

    def division(self, path: TrainingPath, *, workers: int = 1, sharded: bool = False) -> Division:
        """How a step of a path is divided to fit into the memory of a worker."""
        return path.memory.division(
            path.architecture,
            path.workload,
            batch_size=path.batch_size,
            precision=path.optimizer_settings.precision,
            on_gpu=self._device.type == "cuda",
            available_bytes=available_bytes(self._device, self._memory_gb_of(path.architecture)),
            workers=workers,
            sharded=sharded,
        )
