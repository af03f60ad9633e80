"""A short training after pruning: what was pruned stays away, and weights are seen as rounded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from objectives.fake_quantisation import fake_quantised
from objectives.paths import TrainingPath
from objectives.pruning import prune
from objectives.stages import Stages
from objectives.task import Task
from spaces.configuration import Configuration

RECOVERY = "recovery"


def recovery_path(
    task: Task, stages: Stages, configuration: Configuration, trained: TrainingPath
) -> TrainingPath:
    """The stage that trains a pruned model on.

    Quantisation-aware where weights are rounded: each forward pass sees them on the grid that they
    will be rounded to, and gradients pass through the rounding (Bengio et al. 2013, arXiv
    1308.3432). Weights that unstructured pruning zeroed stay zero.

    Args:
        task: Gives the loss and the calibration batches.
        stages: Makes stages.
        configuration: Its compression says what is pruned and how long the recovery takes.
        trained: The end of training before compression.
    """
    kind, compression = task.kind, configuration.canonical().compression
    bits = compression.quantisation.bits if compression.quantisation.has_codes else None

    def loss_at(model: nn.Module, step: int) -> torch.Tensor:
        if bits is None:
            return kind.loss_at(model, step)
        with fake_quantised(model, bits=bits, group_size=compression.group_size):
            return kind.loss_at(model, step)

    def adopt(whole: nn.Module, pruned: nn.Module) -> None:
        result = prune(
            whole.cpu(),
            configuration.architecture,
            kind.workload,
            compression,
            task.calibration(),
            task.loss,
        )
        pruned.load_state_dict(result.state_dict())

    seen = {
        "bits": bits,
        "group_size": compression.group_size,
        "pruning": compression.pruning,
        "sparsity": compression.sparsity,
    }
    path = stages.following(
        trained,
        configuration,
        replace(kind, loss_at=loss_at),
        name=RECOVERY,
        steps=stages.steps(configuration).recovery,
        adopt=adopt,
        identity=seen,
    )
    return replace(path, build=lambda: _freeze_zeros(path.build()))


def _freeze_zeros(model: nn.Module) -> nn.Module:
    """Let linear weights that are exactly zero, which pruning made them, get no gradient."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _mask_gradient(module.weight)
    return model


def _mask_gradient(weight: torch.Tensor) -> None:
    weight.register_hook(lambda gradient: gradient * (weight != 0))  # type: ignore[no-untyped-call]
