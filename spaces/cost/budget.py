"""Training budgets, and the optimiser steps that they buy an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from spaces.cost.architecture import Architecture
from spaces.cost.families import has_decoder
from spaces.cost.flops import (
    TRAINING_OVER_FORWARD,
    pretraining_workload,
    training_step_flops,
)
from spaces.cost.units import MIN_STEPS, BudgetUnit
from spaces.cost.workload import Workload
from spaces.errors import UserError

StepsPerSecond = Callable[[Architecture], float | None]
"""Steps of the stable path that an architecture trains in a second; None before it is measured."""


@dataclass(frozen=True, slots=True)
class BatchLengths:
    """Mean lengths of the training batches of a task whose examples are padded.

    Args:
        tokens: Tokens of an example without padding; of both sides of a pair together.
        padded: Tokens of an example with padding, which are computed; of a pair, those that are
            read.
        padded_target: Those that are written, of a pair.
    """

    tokens: float
    padded: float
    padded_target: float | None = None


LengthsOf = Callable[[], BatchLengths | None]
"""Lengths of the batches of a task; None where none is padded, or the data is not prepared yet."""


class UnknownStepsError(UserError):
    """The steps of a budget in seconds, asked for before the speed of training was measured."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(
            f"space.budget: the steps that {architecture} trains in a second are not measured yet; "
            "tlc run measures them before its first trial"
        )


@dataclass(frozen=True, slots=True)
class TrainingSteps:
    """Optimiser steps that a budget buys an architecture.

    Args:
        stable: Steps at constant learning rate, warm-up included.
        decay: Steps in which the learning rate falls to zero.
        recovery: Steps after pruning.
    """

    stable: int
    decay: int
    recovery: int = 0

    @property
    def pretraining(self) -> int:
        """All steps of the budget: those of pre-training where fine-tuning follows."""
        return self.stable + self.decay

    @property
    def is_enough(self) -> bool:
        """Whether they make a training run: the learning rate must fall for a step at least."""
        return self.pretraining >= MIN_STEPS and self.decay >= 1

    @property
    def total(self) -> int:
        """All steps that budgets count: fine-tuning, which epochs count, comes on top."""
        return self.pretraining + self.recovery


@dataclass(frozen=True, slots=True)
class Schedule:
    """How budgets are spent; the same for every trial of a search.

    Args:
        unit: What budgets count.
        batch_size: Sequences in a step.
        decay_fraction: Fraction of the budget in which the learning rate falls; 0.1 to 0.2
            matches a cosine (Hägele et al. 2024, arXiv 2405.18392, section 4).
        steps_per_second: Turns seconds into steps; other units do not need it.
        lengths: Tokens and FLOPs are those of batches of these lengths; without it, of full length.
        task_passes: Forward and backward passes of a step of fine-tuning or of its recovery.
        has_taught_recovery: Whether recovery learns from the model before compression. Its steps
            then have one pass over a batch, with a forward pass of that model.
    """

    unit: BudgetUnit
    batch_size: int
    decay_fraction: float
    steps_per_second: StepsPerSecond | None = None
    lengths: LengthsOf | None = None
    task_passes: int = 1
    has_taught_recovery: bool = False

    def knows_steps_of(self, architecture: Architecture) -> bool:
        """Whether the steps of an architecture's budgets are known: in seconds, once measured."""
        return self.unit is not BudgetUnit.SECONDS or self._rate(architecture) is not None

    def steps(
        self,
        budget: float,
        architecture: Architecture,
        workload: Workload,
        *,
        recovery: float = 0.0,
    ) -> TrainingSteps:
        """Steps that ``budget`` and ``recovery`` (in the schedule's unit) buy ``architecture``.

        Raises:
            UnknownStepsError: The unit is seconds, and the architecture is not measured yet.
        """
        pretraining_step, recovery_step = self._step_costs(architecture, workload)
        pretraining = int(budget / pretraining_step)
        decay = round(self.decay_fraction * pretraining)
        return TrainingSteps(
            stable=pretraining - decay,
            decay=decay,
            recovery=int(recovery / recovery_step),
        )

    def training_flops(
        self,
        budget: float,
        architecture: Architecture,
        workload: Workload,
        *,
        fine_tuning_steps: int = 0,
        recovery: float = 0.0,
    ) -> int:
        """Training FLOPs of ``architecture`` at ``budget``, with those of the steps of fine-tuning,
        and of recovery as if nothing had been pruned."""
        steps = self.steps(budget, architecture, workload, recovery=recovery)
        pretraining_step, task_step, recovery_step = self._step_flops(architecture, workload)
        return (
            steps.pretraining * pretraining_step
            + fine_tuning_steps * task_step
            + steps.recovery * recovery_step
        )

    @property
    def teacher_factor(self) -> float:
        """FLOPs of a step of recovery with those of its teacher, where it has one, as a multiple of
        those of its own passes."""
        return 1.0 + self.has_taught_recovery / TRAINING_OVER_FORWARD

    def _step_flops(self, architecture: Architecture, workload: Workload) -> tuple[int, int, int]:
        """FLOPs of a step of pre-training, of one on the task, and of one of recovery."""
        lengths = self._lengths()
        task = training_step_flops(
            architecture,
            workload,
            batch_size=self.batch_size,
            length=None if lengths is None else lengths.padded,
            target=None if lengths is None else lengths.padded_target,
        )
        passes, pretraining = 1, task
        if workload.family.is_classifier_of_text:
            passes, pretrained = self.task_passes, pretraining_workload(workload)
            pretraining = training_step_flops(architecture, pretrained, batch_size=self.batch_size)
        taught = round(self.teacher_factor * task)
        return pretraining, passes * task, taught if self.has_taught_recovery else passes * task

    def _step_costs(self, architecture: Architecture, workload: Workload) -> tuple[float, float]:
        """A step of pre-training, and one of recovery, in the unit of budgets."""
        if self.unit is BudgetUnit.STEPS:
            return 1, 1
        if self.unit is BudgetUnit.TOKENS:
            lengths, length = self._lengths(), workload.sequence_length
            written = (workload.target_length or length) if has_decoder(workload) else 0
            full = self.batch_size * (length + written)
            task = full if lengths is None else self.batch_size * lengths.tokens
            return (full if workload.family.is_classifier_of_text else task), task
        pretraining_flops, _, recovery_flops = self._step_flops(architecture, workload)
        if self.unit is BudgetUnit.FLOPS:
            return pretraining_flops, recovery_flops
        # Pre-training is what is measured; the same FLOPs are taken to last as long on the task.
        seconds = self.seconds_per_step(architecture)
        return seconds, seconds * recovery_flops / pretraining_flops

    def seconds_per_step(self, architecture: Architecture) -> float:
        """Measured seconds of a step of the stable path; infinite where it cannot be trained.

        Raises:
            UnknownStepsError: It is not measured yet.
        """
        rate = self._rate(architecture)
        if rate is None:
            raise UnknownStepsError(architecture)
        return 1.0 / rate if rate > 0.0 else inf

    def _lengths(self) -> BatchLengths | None:
        return None if self.lengths is None else self.lengths()

    def _rate(self, architecture: Architecture) -> float | None:
        return None if self.steps_per_second is None else self.steps_per_second(architecture)
