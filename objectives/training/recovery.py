"""A short training after pruning: what was pruned stays away, and weights are seen as rounded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from objectives.compression.fake_quantisation import fake_quantised
from objectives.compression.model_spec import ModelSpec
from objectives.compression.prune import prune
from objectives.data.batches import Batch
from objectives.training.paths import TrainingPath
from objectives.training.stages import LearningProblem, Stages
from spaces.cost.configuration import Configuration

RECOVERY = "recovery"


def recovery_path(
    problem: LearningProblem,
    stages: Stages,
    configuration: Configuration,
    trained: TrainingPath,
    calibration: list[Batch],
) -> TrainingPath:
    """The stage that trains a pruned model on.

    Quantisation-aware where weights are rounded: each forward pass sees them on the grid that they
    will be rounded to, and gradients pass through the rounding (Bengio et al. 2013, arXiv
    1308.3432). Weights that unstructured pruning zeroed stay zero.

    Args:
        problem: What the model was trained on.
        stages: Makes stages.
        configuration: Its compression says what is pruned and how long the recovery takes.
        trained: The end of training before compression.
        calibration: Batches for pruning.
    """
    compression = configuration.canonical().compression
    bits = compression.quantisation.bits if compression.quantisation.has_codes else None

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        if bits is None:
            return problem.loss(model, batch)
        with fake_quantised(model, bits=bits, group_size=compression.group_size):
            return problem.loss(model, batch)

    def transfer_weights(whole: nn.Module, pruned: nn.Module) -> None:
        spec = ModelSpec(configuration.architecture, problem.workload, compression)
        result = prune(whole.cpu(), spec, calibration, problem.loss)
        pruned.load_state_dict(result.state_dict())

    seen = {
        "bits": bits,
        "group_size": compression.group_size,
        "pruning": compression.pruning,
        "sparsity": compression.sparsity,
    }
    path = stages.next_stage(
        trained,
        configuration,
        replace(problem, loss=loss),
        name=RECOVERY,
        steps=stages.steps(configuration).recovery,
        transfer_weights=transfer_weights,
        identity=seen,
    )
    return replace(path, optimizer_settings=replace(path.optimizer_settings, keeps_zeros=True))
