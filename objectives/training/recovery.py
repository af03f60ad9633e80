"""Recovery: a short training after pruning, with weights rounded as compression will round them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from objectives.compression.fake_quantisation import fake_quantised
from objectives.compression.model_file import ModelSpec
from objectives.compression.prune import prune
from objectives.data.batches import WHOLE_BATCH, Batch, BatchShard
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import TrainingPath
from objectives.training.stages import Stages
from spaces.cost.configuration import Configuration

RECOVERY = "recovery"


def recovery_path(
    problem: LearningProblem,
    stages: Stages,
    configuration: Configuration,
    parent: TrainingPath,
    calibration: list[Batch],
) -> TrainingPath:
    """The stage that trains a pruned model.

    Quantisation-aware where weights are rounded: each forward pass rounds them to the grid of the
    compression, and gradients pass through the rounding (Bengio et al. 2013, arXiv 1308.3432).
    Weights that unstructured pruning zeroed stay zero.

    Args:
        problem: What the model was trained on.
        stages: Makes stages.
        configuration: Its compression determines what is pruned and how long the recovery takes.
        parent: The end of training before compression.
        calibration: Batches for pruning.
    """
    compression = configuration.canonical().compression
    bits = compression.quantisation.bits if compression.quantisation.has_codes else None

    def loss_at(model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH) -> torch.Tensor:
        if bits is None:
            return problem.loss_at(model, step, shard)
        with fake_quantised(model, bits=bits, group_size=compression.group_size):
            return problem.loss_at(model, step, shard)

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
        transfer_weights=transfer_pruned,
        identity={
            "bits": bits,
            "group_size": compression.group_size,
            "pruning": compression.pruning,
            "sparsity": compression.sparsity,
        },
    )
    settings = replace(path.optimizer_settings, keeps_zeros=True)
    return replace(path, loss_at=loss_at, optimizer_settings=settings)
