"""Training budgets, and the optimiser steps that they buy an architecture."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.cost.architecture import Architecture
from spaces.cost.flops import pretraining_workload, training_step_flops
from spaces.cost.units import BudgetUnit
from spaces.cost.workload import Workload

MIN_STEPS = 10
"""Fewest steps of a training run; a search file that asks for fewer is refused."""


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
    """

    unit: BudgetUnit
    batch_size: int
    decay_fraction: float

    def steps(
        self,
        budget: float,
        architecture: Architecture,
        workload: Workload,
        *,
        recovery: float = 0.0,
    ) -> TrainingSteps:
        """Steps that ``budget`` and ``recovery`` (in the schedule's unit) buy ``architecture``."""
        pretraining_step, task_step = self._step_flops(architecture, workload)
        pretraining = self._steps(budget, pretraining_step, workload)
        decay = round(self.decay_fraction * pretraining)
        return TrainingSteps(
            stable=pretraining - decay,
            decay=decay,
            recovery=self._steps(recovery, task_step, workload),
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
        pretraining_step, task_step = self._step_flops(architecture, workload)
        return (
            steps.pretraining * pretraining_step + (fine_tuning_steps + steps.recovery) * task_step
        )

    def _step_flops(self, architecture: Architecture, workload: Workload) -> tuple[int, int]:
        """FLOPs of a step of pre-training, and of one on the task."""
        return (
            training_step_flops(
                architecture, pretraining_workload(workload), batch_size=self.batch_size
            ),
            training_step_flops(architecture, workload, batch_size=self.batch_size),
        )

    def _steps(self, amount: float, step_flops: int, workload: Workload) -> int:
        units_per_step = {
            BudgetUnit.STEPS: 1,
            BudgetUnit.TOKENS: self.batch_size * workload.sequence_length,
            BudgetUnit.FLOPS: step_flops,
        }[self.unit]
        return int(amount / units_per_step)
