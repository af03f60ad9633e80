"""The stages of training that tasks are made of: a stable path, its decay, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from objectives.data.batches import WHOLE_BATCH
from objectives.device import fastest_precision
from objectives.failures import TrialFailure
from objectives.training.learning_problem import LearningProblem
from objectives.training.optimizer import (
    Decay,
    LearningRateSchedule,
    OptimizerSettings,
    WarmupDecay,
    WarmupStable,
)
from objectives.training.path import STABLE, TrainingPath
from spaces.cost.architecture import Architecture
from spaces.cost.budget import Schedule, TrainingSteps
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.families import training_key
from spaces.cost.memory.division import StepMemory
from spaces.cost.units import MIN_STEPS
from spaces.cost.workload import Workload
from spaces.file.training import RecoveryDistillation, RecoveryStart, Training

KEY_VERSION = 6
"""Raised when the same inputs would train other weights."""


class Stages:
    """Makes the stages of a search.

    Args:
        budgets: The budgets of the space.
        fingerprint: SHA-256 of the data.
        decay_fractions: Those of the space, which leave one stable path; by default the schedule's.
    """

    def __init__(
        self,
        training: Training,
        schedule: Schedule,
        workload: Workload,
        budgets: Sequence[float],
        fingerprint: str,
        decay_fractions: Sequence[float] = (),
    ) -> None:
        self._training = training
        self.schedule = schedule
        self._workload = workload
        self._budgets = budgets
        self._fingerprint = fingerprint
        self._decay_fractions = decay_fractions or (schedule.decay_fraction,)

    def stable_and_decay(
        self, configuration: Configuration, problem: LearningProblem
    ) -> TrainingPath:
        """The stable path to a configuration's budget, and the decay that leaves it."""
        stable = self._stable(configuration, problem)
        steps = self.steps(configuration).decay
        return replace(
            stable,
            name="decay",
            key=content_hash({"decay": steps, "after": stable.length, "of": stable.key}),
            length=steps,
            loss_at=lambda model, step, shard=WHOLE_BATCH: problem.loss_at(
                model, stable.length + step, shard
            ),
            optimizer_settings=self._settings(self._training.learning_rate, Decay(steps)),
            parent=stable,
            can_continue=False,
            milestones=(),
            validate=problem.validation_figures,
            validated_by=problem.scored_by,
        )

    @property
    def largest_budget(self) -> float:
        """The largest budget of the space."""
        return max(self._budgets)

    def check_budget(self, configuration: Configuration) -> None:
        """Refuse a budget in seconds that buys an architecture too few steps.

        Raises:
            TrialFailure: ``too_few_steps``.
        """
        steps = self.steps(configuration)
        if not steps.is_enough:
            raise TrialFailure(
                "too_few_steps",
                f"{configuration}: the budget buys {steps.pretraining} steps, {steps.decay} of "
                f"them of decay; the minimum is {MIN_STEPS}, and 1 of decay",
            )

    def timed(self, architecture: Architecture, problem: LearningProblem) -> TrainingPath:
        """A path on which the speed of an architecture's stable path is measured.

        Nothing is stored of it. Its key holds what the speed depends on, but for the machine.
        """
        training = self._training
        key = {
            "timed": problem.kind,
            "data": self._fingerprint,
            "architecture": training_key(architecture, problem.workload),
            "workload": asdict(problem.workload),
            "dropout": problem.dropout,
            "batch_size": training.batch_size,
            "precision": fastest_precision(),
        }
        return TrainingPath(
            name="timed",
            key=content_hash(key),
            batch_size=training.batch_size,
            epoch=problem.epoch,
            length=1,
            configuration=Configuration(architecture, 0.0, Compression()),
            workload=problem.workload,
            build=lambda: problem.build(architecture.shape),
            transfer_weights=None,
            loss_at=problem.loss_at,
            optimizer_settings=self._settings(training.learning_rate, WarmupStable(1)),
            memory=self._memory(problem),
        )

    def next_stage(
        self,
        parent: TrainingPath,
        configuration: Configuration,
        problem: LearningProblem,
        *,
        name: str,
        steps: int,
        learning_rate: float,
        transfer_weights: Callable[[nn.Module, nn.Module], None],
        identity: dict[str, Any],
    ) -> TrainingPath:
        """A stage that starts from its parent's weights.

        Args:
            parent: The stage before.
            configuration: Its compression determines the layers.
            problem: What the stage learns.
            name: Name of the stage.
            steps: Its length.
            learning_rate: Its peak.
            transfer_weights: Copies weights of the parent's model into the new one.
            identity: What else determines its weights.
        """
        key = {
            name: steps,
            "problem": problem.kind,
            "learning_rate": learning_rate,
            "outputs": problem.workload.outputs,
            "dropout": problem.dropout,
            "of": parent.key,
            **identity,
        }
        shape = configuration.compression.shape_of(configuration.architecture)
        return TrainingPath(
            name=name,
            key=content_hash(key),
            batch_size=self._training.batch_size,
            epoch=problem.epoch,
            length=steps,
            configuration=configuration,
            workload=problem.workload,
            build=lambda: problem.build(shape),
            transfer_weights=transfer_weights,
            loss_at=problem.loss_at,
            optimizer_settings=self._settings(learning_rate, WarmupDecay(steps)),
            memory=self._memory(problem),
            parent=parent,
            validate=problem.validation_figures,
            validated_by=problem.scored_by,
        )

    def steps(self, configuration: Configuration) -> TrainingSteps:
        """Steps of each stage of a configuration."""
        return self.schedule.steps(
            configuration.budget,
            configuration.architecture,
            self._workload,
            recovery=configuration.compression.recovery,
        )

    @property
    def dropout(self) -> float:
        """Dropout while the budget is spent."""
        return self._training.dropout

    @property
    def recovery_learning_rate(self) -> float:
        """Peak of the learning rate of recovery."""
        return self._training.recovery_learning_rate

    @property
    def recovery_start(self) -> RecoveryStart:
        """Where on the training of a model its recovery starts."""
        return self._training.recovery_start

    @property
    def recovery_distillation(self) -> RecoveryDistillation | None:
        """How recovery learns from the model before compression, where it does."""
        return self._training.recovery_distillation

    def _stable(self, configuration: Configuration, problem: LearningProblem) -> TrainingPath:
        training, architecture = self._training, configuration.architecture
        ends = [self.steps(replace(configuration, budget=each)) for each in self._budgets]
        # Budgets in seconds that buy too few steps are not trained.
        enough = [steps.pretraining for steps in ends if steps.is_enough]
        warmup_steps = training.warmup_steps(min(enough, default=MIN_STEPS))
        key = {
            "version": KEY_VERSION,
            "problem": problem.kind,
            **problem.identity,
            "data": self._fingerprint,
            "architecture": training_key(architecture, problem.workload),
            "workload": asdict(problem.workload),
            "dropout": problem.dropout,
            "batch_size": training.batch_size,
            "learning_rate": training.learning_rate,
            "warmup_steps": warmup_steps,
            "weight_decay": training.weight_decay,
            "gradient_clip": training.gradient_clip,
            "precision": fastest_precision(),
            "seed": configuration.seed,
        }
        return TrainingPath(
            name=STABLE,
            key=content_hash(key),
            batch_size=training.batch_size,
            epoch=problem.epoch,
            length=self.steps(configuration).stable,
            configuration=configuration,
            workload=problem.workload,
            build=lambda: problem.build(architecture.shape),
            transfer_weights=None,
            loss_at=problem.loss_at,
            optimizer_settings=self._settings(training.learning_rate, WarmupStable(warmup_steps)),
            memory=self._memory(problem),
            initialise=problem.initialise_from(architecture),
            can_continue=True,
            milestones=self._milestones(architecture),
        )

    def _milestones(self, architecture: Architecture) -> tuple[int, ...]:
        """Steps at which some budget leaves the stable path of an architecture."""
        schedules = [replace(self.schedule, decay_fraction=each) for each in self._decay_fractions]
        return tuple(
            schedule.steps(budget, architecture, self._workload).stable
            for budget in self._budgets
            for schedule in schedules
        )

    def _memory(self, problem: LearningProblem) -> StepMemory:
        return StepMemory(
            micro_batch_size=self._training.micro_batch_size,
            activation_checkpointing=self._training.activation_checkpointing,
            dropout=problem.dropout,
            passes=problem.passes,
        )

    def _settings(self, peak: float, schedule: LearningRateSchedule) -> OptimizerSettings:
        return OptimizerSettings(
            peak=peak,
            schedule=schedule,
            weight_decay=self._training.weight_decay,
            gradient_clip=self._training.gradient_clip,
            precision=fastest_precision(),
        )
