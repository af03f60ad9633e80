"""Recovery: the stage that trains a pruned model, with its weights rounded as they are stored."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from objectives.compression.fake_quantisation import fake_quantised, grid_of
from objectives.compression.model_file import ModelSpec
from objectives.compression.prune import prune
from objectives.data.batches import WHOLE_BATCH, Batch, BatchShard
from objectives.training.distillation import loss_from_teacher
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import RECOVERY, StepLoss, TrainingPath
from objectives.training.stages import Stages
from spaces.cost.configuration import Configuration


def recovery_path(
    problem: LearningProblem,
    stages: Stages,
    configuration: Configuration,
    parent: TrainingPath,
    calibration: list[Batch],
) -> TrainingPath:
    """The stage that trains a pruned model.

    Quantisation-aware where weights are rounded: each forward pass rounds them to the grid that the
    method stores, and gradients pass through the rounding (Bengio et al. 2013, arXiv 1308.3432).
    Weights that unstructured pruning zeroed stay zero. With ``recovery_distillation`` the model
    before compression is the teacher, whose weights are not rounded.

    Args:
        problem: What the model was trained on.
        stages: Makes stages.
        configuration: Its compression determines what is pruned and how long the recovery takes.
        parent: The end of training before compression.
        calibration: Batches for pruning.
    """
    compression = configuration.canonical().compression
    quantisation = compression.quantisation
    grid = grid_of(quantisation)
    distillation = stages.recovery_distillation
    how = {} if distillation is None else distillation.model_dump()

    def rounded(loss: StepLoss) -> StepLoss:
        def loss_at(model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
            with fake_quantised(model, quantisation, group_size=compression.group_size):
                return loss(model, step, shard)

        return loss_at

    def taught_loss(teacher: nn.Module) -> StepLoss:
        return rounded(
            lambda model, step, shard=WHOLE_BATCH: loss_from_teacher(
                problem, model, teacher, step, shard, **how
            )
        )

    def transfer_pruned(trained: nn.Module, model: nn.Module) -> None:
        spec = ModelSpec(configuration.architecture, problem.workload, compression)
        pruned = prune(trained.cpu(), spec, calibration, problem.loss)
        model.load_state_dict(pruned.state_dict())

    path = stages.next_stage(
        parent,
        configuration,
        problem,
        name=RECOVERY,
        steps=stages.steps(configuration).recovery,
        learning_rate=stages.recovery_learning_rate,
        transfer_weights=transfer_pruned,
        identity={
            "grid": grid,
            "bits": None if grid is None else quantisation.bits,
            "group_size": compression.group_size,
            "pruning": compression.pruning,
            "sparsity": compression.sparsity,
            **({"distillation": how} if how else {}),
        },
    )
    settings = replace(path.optimizer_settings, keeps_zeros=True)
    return replace(
        path,
        loss_at=rounded(problem.loss_at),
        taught_loss=taught_loss if how else None,
        optimizer_settings=settings,
    )
