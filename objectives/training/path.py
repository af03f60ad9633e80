"""Training paths: the stages of training that configurations share, and the state on a path.

A path is a sequence of steps that its key determines: the stable path of an architecture, a decay
that leaves it, or a fine-tuning that follows. A trial asks for the end of the last path of its
chain; what any trial trained before, in this search or another, is read from the store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from objectives.data.batches import WHOLE_BATCH, BatchShard
from objectives.models.parametrisation import weight_scales
from objectives.store.manifest import checkpoint_address
from objectives.training.early_stopping import EarlyStopping, HeldOutHistory
from objectives.training.optimizer import OptimizerSettings, make_optimizer
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.memory.division import StepMemory
from spaces.cost.workload import Workload

STABLE = "stable"
"""Name of the stage that the budgets of an architecture share."""
FINE_TUNING = "fine-tuning"
"""Name of the stage that teaches a pre-trained model its task."""
RECOVERY = "recovery"
"""Name of the stage after pruning."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over what a path trains on.

    Args:
        examples: Texts, pairs, images, or windows of running text.
        tokens: Those of the examples, without padding; of images, patches.
    """

    examples: int
    tokens: int


class StepLoss(Protocol):
    """The training loss of a model."""

    def __call__(
        self, model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH, /
    ) -> torch.Tensor:
        """Loss on the batch of a step, or on a shard of it."""
        ...


@dataclass(frozen=True)
class TrainingPath:
    """One stage of training, up to a step.

    Args:
        name: ``stable``, ``decay``, ``fine-tuning`` or ``recovery``.
        key: Hash of everything that determines its weights at each step, and its end.
        batch_size: Examples of a step.
        epoch: One pass over its data.
        length: Its steps; with early stopping, the most that it can have.
        configuration: One that asks for this path; from it, other ranks make the same path.
        workload: What its models read and predict.
        build: Makes the untrained model of this stage.
        transfer_weights: Copies weights of the parent's model into the new one; None where the
            stage continues the parent's model and optimiser as they are.
        initialise: Gives the model of a path without a parent other weights than random ones.
        parent: The path at whose end it starts.
        can_continue: Whether longer paths continue from its end, so that the optimiser is kept.
        milestones: Steps before its end at which shorter paths end; they are stored too, so that a
            long run contains the short ones.
        validate: Figures on held-out data, measured once at the end and kept with the checkpoint.
        validated_by: What those figures depend on beside the weights and the data, such as beams.
            Searches that share the weights may differ in it.
        early_stopping: When it ends before its length, and with which weights.
        taught_loss: Makes ``loss_at`` from the teacher's model, where there is one.
        teacher: The path at whose end is the model that teaches this one, where one does.
        while_training: What is in force on a model while it is trained, such as rounded weights.
        memory: How a step may be divided to fit into memory.
    """

    name: str
    key: str
    batch_size: int
    epoch: Epoch
    length: int
    configuration: Configuration
    workload: Workload
    build: Callable[[], nn.Module]
    transfer_weights: Callable[[nn.Module, nn.Module], None] | None
    loss_at: StepLoss
    optimizer_settings: OptimizerSettings
    parent: TrainingPath | None = None
    can_continue: bool = False
    milestones: tuple[int, ...] = ()
    validate: Callable[[nn.Module], dict[str, float]] | None = None
    validated_by: dict[str, Any] = field(default_factory=dict)
    early_stopping: EarlyStopping | None = None
    initialise: Callable[[nn.Module], None] | None = None
    taught_loss: Callable[[nn.Module], StepLoss] | None = None
    teacher: TrainingPath | None = None
    while_training: Callable[[nn.Module], AbstractContextManager[None]] = lambda _: nullcontext()
    memory: StepMemory = field(default_factory=StepMemory)

    @property
    def architecture(self) -> Architecture:
        """Architecture of the model, before pruning."""
        return self.configuration.architecture

    @property
    def seed(self) -> int:
        """Seed of initial weights and dropout."""
        return self.configuration.seed

    def step_loss(self, teacher: nn.Module | None) -> StepLoss:
        """The loss that it is trained with.

        Args:
            teacher: The model at the teacher's end; needed where ``taught_loss`` is given.
        """
        if self.taught_loss is None:
            return self.loss_at
        if teacher is None:
            raise ValueError(f"{self.name} is trained with a teacher's model")
        return self.taught_loss(teacher)

    def make_optimizer(self, model: nn.Module) -> torch.optim.AdamW:
        """A new optimiser of a model of this path."""
        scales = weight_scales(self.architecture.shape, self.workload)
        return make_optimizer(model, scales, self.optimizer_settings)

    @property
    def address(self) -> str:
        """Address of its end in the store."""
        return self.address_at(self.length)

    def address_at(self, step: int) -> str:
        """Address of a step of the path in the store."""
        return checkpoint_address(self.key, step)

    @property
    def stops(self) -> list[int]:
        """Steps where training is interrupted to store or to evaluate it, ascending, with the end.

        Ends of epochs are counted from the path's start, so a resumed run has the same.
        """
        epoch = self.early_stopping.epoch_steps if self.early_stopping else self.length
        inner = {*self.milestones, *range(epoch, self.length, epoch)}
        return [*sorted(step for step in inner if step < self.length), self.length]

    @property
    def steps_at_once(self) -> int:
        """Most steps without an evaluation of the model."""
        return self.early_stopping.epoch_steps if self.early_stopping else self.length

    @property
    def chain(self) -> list[TrainingPath]:
        """This path and all before it, the first one last."""
        return [self, *(self.parent.chain if self.parent else [])]


@dataclass
class TrainingProgress:
    """How far a path is trained.

    Args:
        step: Steps done on this path.
        seconds: Seconds that they took, in any process, with evaluations in between.
        curve: ``(step, mean loss)`` along the path.
        unsaved_seconds: Those since the last checkpoint.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    unsaved_seconds: float = 0.0

    def spend(self, seconds: float) -> None:
        """Add seconds that were spent on the path."""
        self.seconds += seconds
        self.unsaved_seconds += seconds


@dataclass
class TrainingState:
    """A model somewhere on a path, and what is needed to continue.

    Args:
        optimizer: Its optimiser, with moments only where training can continue from here.
        history: Facts of the paths before, oldest first.
        validation: What ``validate`` returned at the path's end.
        resume_points: Steps that are in the store only until the path is trained to its end,
            ascending.
        held_out: Evaluations of a path with early stopping.
        has_ended: Whether early stopping ended it: the path has this state at its end.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    progress: TrainingProgress
    history: list[dict[str, Any]] = field(default_factory=list)
    validation: dict[str, float] = field(default_factory=dict)
    resume_points: list[int] = field(default_factory=list)
    held_out: HeldOutHistory = field(default_factory=HeldOutHistory)
    has_ended: bool = False

    def release_optimizer(self) -> None:
        """Free the moments and the gradients: nothing is trained from here."""
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)

    def is_end_of(self, path: TrainingPath) -> bool:
        """Whether a path is trained to its end."""
        return self.has_ended or self.progress.step == path.length

    def address_on(self, path: TrainingPath) -> str:
        """Address of this state on a path; that of the end does not depend on when it came."""
        return path.address if self.has_ended else path.address_at(self.progress.step)

    def facts(self, path: TrainingPath) -> dict[str, Any]:
        """What the record keeps of a path that ends here.

        ``tokens`` are those of its ``epochs``, without padding: within a batch of what was read.
        """
        epochs = self.progress.step * path.batch_size / path.epoch.examples
        return {
            "name": path.name,
            "key": path.key,
            "steps": self.progress.step,
            "epochs": epochs,
            "tokens": round(epochs * path.epoch.tokens),
            "seconds": self.progress.seconds,
            "curve": self.progress.curve,
            "validation": self.validation,
            "held_out": self.held_out.evaluations,
            "best_epoch": self.held_out.best_epoch,
        }


@dataclass
class TrainingCost:
    """What the training of a trial took, and what it reused from the store.

    Args:
        steps_reused: Steps of its chain that were in the store.
        seconds_saved: Seconds that the reused steps took when they were run.
    """

    steps_trained: int = 0
    steps_reused: int = 0
    seconds_trained: float = 0.0
    seconds_saved: float = 0.0
