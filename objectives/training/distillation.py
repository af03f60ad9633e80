"""Distillation: the loss of a model that learns from the predictions of another."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from objectives.data.batches import WHOLE_BATCH, BatchShard, to_device
from objectives.data.encoding import IGNORED
from objectives.training.learning_problem import LearningProblem


def distilled_loss(
    outputs: torch.Tensor,
    of_teacher: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float,
    weight: float,
) -> torch.Tensor:
    """Cross-entropy of the labels, and the divergence from the teacher's predictions at a
    temperature (Hinton et al. 2015, arXiv 1503.02531, section 2).

    Args:
        outputs: Logits ``(predictions, classes)``.
        of_teacher: Those of the teacher, of the same shape.
        targets: The class of each prediction, ``(predictions,)``; both parts of the loss are means
            of those that are not ``IGNORED``.
        temperature: By which logits are divided.
        weight: Part of the loss that is the divergence.
    """
    counted = targets != IGNORED
    # Equal logits do not diverge. To select rows instead would make the CPU wait for a GPU.
    outputs_where_counted = torch.where(counted[:, None], outputs, of_teacher)
    divergence = functional.kl_div(
        functional.log_softmax(outputs_where_counted / temperature, dim=-1),
        functional.log_softmax(of_teacher / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    ) / counted.sum().clamp(min=1)
    # The gradients of soft targets go with 1 / temperature^2.
    of_teacher_alone = temperature**2 * divergence
    if weight == 1.0:
        return of_teacher_alone
    of_labels = functional.cross_entropy(outputs, targets, ignore_index=IGNORED)
    return (1.0 - weight) * of_labels + weight * of_teacher_alone


def loss_from_teacher(
    problem: LearningProblem,
    model: nn.Module,
    teacher: nn.Module,
    step: int,
    shard: BatchShard = WHOLE_BATCH,
    *,
    temperature: float,
    weight: float,
) -> torch.Tensor:
    """``distilled_loss`` of a model on the batch of a step, or on a shard of it.

    The teacher predicts what the model does, of the same inputs: where a task hides tokens of a
    text, the same ones (Beyer et al. 2021, arXiv 2106.05237). As with ``LearningProblem.loss_at``,
    the mean over all shards is the loss of the batch.
    """
    batch = to_device(problem.batch(step), model)
    own = shard.of(batch)
    with torch.no_grad():
        of_teacher = problem.predictions(teacher, own)
    outputs, targets = problem.predictions(model, own), problem.targets(own)
    loss = distilled_loss(outputs, of_teacher, targets, temperature=temperature, weight=weight)
    if shard == WHOLE_BATCH:
        return loss
    counts = [(each != IGNORED).sum() for each in (targets, problem.targets(batch))]
    return loss * (shard.count * counts[0] / counts[1])
