"""Recovery: the stage that trains a pruned model, with its weights rounded as they are stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from objectives.compression.fake_quantisation import fake_quantised, grid_of
from objectives.compression.model_file import ModelSpec
from objectives.compression.prune import prune
from objectives.data.batches import WHOLE_BATCH, Batch
from objectives.device import device_of
from objectives.training.distillation import loss_from_teacher
from objectives.training.learning_problem import LearningProblem
from objectives.training.path import RECOVERY, StepLoss, TrainingPath
from objectives.training.stages import Stages
from spaces.cost.configuration import Configuration
from spaces.file.training import LAST_STAGE


def recovery_path(
    problem: LearningProblem,
    stages: Stages,
    configuration: Configuration,
    trained: TrainingPath,
    calibration: list[Batch],
) -> TrainingPath:
    """The stage that trains a pruned model.

    Quantisation-aware where weights are rounded: each forward pass rounds them to the grid that the
    method stores, and gradients pass through the rounding (Bengio et al. 2013, arXiv 1308.3432).
    Weights that unstructured pruning zeroed stay zero. With ``recovery_distillation`` the model
    before compression is the teacher, whose weights are not rounded.

    With ``recovery_start: last-stage`` it replaces the stage at whose end ``trained`` is, with the
    learning rate of that stage: a decay with rounded weights (Dremov et al. 2025, arXiv
    2509.22935).

    Args:
        problem: What the model was trained on.
        stages: Makes stages.
        configuration: Its compression determines what is pruned and how long the recovery takes.
        trained: The end of training before compression.
        calibration: Batches for pruning.
    """
    compression = configuration.canonical().compression
    quantisation = compression.quantisation
    grid = grid_of(quantisation)
    distillation = stages.recovery_distillation
    how = {} if distillation is None else distillation.model_dump()
    replaced = trained if stages.recovery_start == LAST_STAGE else None
    parent = trained if replaced is None else replaced.parent
    assert parent is not None, "every training ends with a stage of its own"

    def taught_loss(teacher: nn.Module) -> StepLoss:
        return lambda model, step, shard=WHOLE_BATCH: loss_from_teacher(
            problem, model, teacher, step, shard, **how
        )

    def transfer_pruned(start: nn.Module, model: nn.Module) -> None:
        if replaced is not None and replaced.transfer_weights is not None:
            dense = replaced.build()
            replaced.transfer_weights(start, dense.to(device_of(start)))
            start = dense
        spec = ModelSpec(configuration.architecture, problem.workload, compression)
        pruned = prune(start, spec, calibration, problem.loss)
        model.load_state_dict(pruned.state_dict())

    path = stages.next_stage(
        parent,
        configuration,
        problem,
        name=RECOVERY,
        steps=stages.steps(configuration).recovery,
        learning_rate=stages.recovery_learning_rate
        if replaced is None
        else replaced.optimizer_settings.peak,
        transfer_weights=transfer_pruned,
        identity={
            "grid": grid,
            "bits": None if grid is None else quantisation.bits,
            "group_size": compression.group_size,
            "pruning": compression.pruning,
            "sparsity": compression.sparsity,
            **({"distillation": how} if how else {}),
            # The key of a stable path does not say where on it this one starts.
            **({"after": parent.length} if replaced else {}),
        },
    )
    settings = replace(path.optimizer_settings, keeps_zeros=True)
    return replace(
        path,
        taught_loss=taught_loss if how else None,
        teacher=trained if how else None,
        optimizer_settings=settings,
        while_training=partial(
            fake_quantised, quantisation=quantisation, group_size=compression.group_size
        ),
    )
