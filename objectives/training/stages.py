"""The stages of training that tasks are made of: a stable path, its decay, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn

from objectives.data.batch_shards import WHOLE_BATCH, BatchShard
from objectives.data.batches import Batch
from objectives.measurement.score import Score
from objectives.models.build import build
from objectives.training.loop import OptimizerSettings, precision_for
from objectives.training.paths import STABLE, TrainingPath
from objectives.training.schedule import Decay, LearningRateSchedule, WarmupDecay, WarmupStable
from spaces.cost.budget import TrainingSteps
from spaces.cost.configuration import Configuration, content_hash
from spaces.cost.workload import Workload
from spaces.file.search_file import SearchFile

FORMAT = 2
"""Raised when the same inputs would train other weights."""


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


@dataclass(frozen=True)
class LearningProblem:
    """What is trained, and how it is told from the rest.

    Args:
        name: What is learnt, for the key: it names all that ``loss`` does beside the data.
        workload: What the models read and answer.
        batches: Training batch of a step.
        loss: Loss of a model on a training batch.
        score: Score of a model on a split.
        scored_by: What ``score`` depends on beside the model and the data, such as how a text is
            decoded; empty where there is no choice, or the default. Weights do not depend on it.
        dropout: Dropout of the models.
        terms: How many terms a batch has that ``loss`` is the mean of.
    """

    name: str
    workload: Workload
    batches: Callable[[int], Batch]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    score: Callable[[nn.Module, str], Score]
    scored_by: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    terms: Callable[[Batch], int] = _rows

    def loss_at(self, model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        """Loss of a model on the batch of a step, or on a shard of it.

        The mean over all shards is the loss of the batch, also where they have unequal numbers of
        terms.
        """
        batch = self.batches(step)
        if shard == WHOLE_BATCH:
            return self.loss(model, batch)
        own = shard.of(batch)
        return self.loss(model, own) * (shard.count * self.terms(own) / self.terms(batch))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on held-out data."""
        score = self.score(model, "validation")
        return {"score": score.value, "loss": score.loss}


class Stages:
    """Makes the stages of a search.

    Args:
        search: The search file.
        fingerprint: SHA-256 of the data.
    """

    def __init__(self, search: SearchFile, fingerprint: str) -> None:
        self._search = search
        self._fingerprint = fingerprint

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
            optimizer_settings=self._optimisation(
                configuration, self._search.training.learning_rate, Decay(steps)
            ),
            parent=stable,
            can_continue=False,
            milestones=(),
            validate=problem.validate,
            validated_by=problem.scored_by,
        )

    def next_stage(
        self,
        parent: TrainingPath,
        configuration: Configuration,
        problem: LearningProblem,
        *,
        name: str,
        steps: int,
        transfer_weights: Callable[[nn.Module, nn.Module], None],
        identity: dict[str, Any],
    ) -> TrainingPath:
        """A stage at the fine-tuning learning rate that takes over what its parent learnt.

        Args:
            parent: The stage before.
            configuration: What is trained; its compression says the layers.
            problem: What is learnt.
            name: Name of the stage.
            steps: Its length.
            transfer_weights: Takes over weights of the parent's model into the new one.
            identity: What else determines its weights.
        """
        training = self._search.training
        key = {
            name: steps,
            "kind": problem.name,
            "learning_rate": training.fine_tuning_learning_rate,
            "outputs": problem.workload.outputs,
            "dropout": problem.dropout,
            "of": parent.key,
            **identity,
        }
        shape = configuration.compression.shape_of(configuration.architecture)
        return TrainingPath(
            name=name,
            key=content_hash(key),
            length=steps,
            configuration=configuration,
            build=lambda: build(shape, problem.workload, dropout=problem.dropout),
            transfer_weights=transfer_weights,
            loss_at=problem.loss_at,
            optimizer_settings=self._optimisation(
                configuration, training.fine_tuning_learning_rate, WarmupDecay(steps)
            ),
            parent=parent,
            validate=problem.validate,
            validated_by=problem.scored_by,
        )

    def steps(self, configuration: Configuration) -> TrainingSteps:
        """Steps of each stage of a configuration."""
        return self._search.schedule.steps(
            configuration.budget,
            configuration.architecture,
            self._search.workload,
            recovery=configuration.compression.recovery,
        )

    def _stable(self, configuration: Configuration, problem: LearningProblem) -> TrainingPath:
        training = self._search.training
        architecture = configuration.architecture
        key = content_hash(
            {
                "format": FORMAT,
                "kind": problem.name,
                "data": self._fingerprint,
                "architecture": asdict(architecture),
                "workload": asdict(problem.workload),
                "dropout": problem.dropout,
                "batch_size": training.batch_size,
                "learning_rate": training.learning_rate,
                "warmup_steps": training.warmup_steps,
                "weight_decay": training.weight_decay,
                "gradient_clip": training.gradient_clip,
                "precision": precision_for(architecture.width),
                "seed": configuration.seed,
            }
        )
        return TrainingPath(
            name=STABLE,
            key=key,
            length=self.steps(configuration).stable,
            configuration=configuration,
            build=lambda: build(architecture.shape, problem.workload, dropout=problem.dropout),
            transfer_weights=None,
            loss_at=problem.loss_at,
            optimizer_settings=self._optimisation(
                configuration, training.learning_rate, WarmupStable(training.warmup_steps)
            ),
            can_continue=True,
            milestones=self._stable_ends(configuration),
        )

    def _stable_ends(self, configuration: Configuration) -> tuple[int, ...]:
        """Where the budgets of the space leave the stable path of an architecture."""
        budgets = self._search.space.budget.values
        return tuple(self.steps(replace(configuration, budget=b)).stable for b in budgets)

    def _optimisation(
        self, configuration: Configuration, peak: float, rate: LearningRateSchedule
    ) -> OptimizerSettings:
        return OptimizerSettings(
            peak=peak,
            schedule=rate,
            weight_decay=self._search.training.weight_decay,
            gradient_clip=self._search.training.gradient_clip,
            precision=precision_for(configuration.architecture.width),
        )
