"""Floating-point operations of training and inference, by arithmetic.

A multiply and an add count as two. Only matrix products count, as in Kaplan et al. 2020
(arXiv 2001.08361), table 1, and Hoffmann et al. 2022 (arXiv 2203.15556), appendix F, which includes
the attention products that the first leaves out. The backward pass costs twice the forward pass.
Sequences count at full length, in encoder and decoder alike, unless a length is given. Tests
compare the formulas with ``torch.utils.flop_counter``.
"""

from __future__ import annotations

from dataclasses import replace

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.families import layout
from spaces.cost.layout import Layout, Role
from spaces.cost.workload import Workload

TRAINING_OVER_FORWARD = 3


def forward_flops(shape: Shape, workload: Workload) -> int:
    """Forward FLOPs of a model for one sequence of full length."""
    laid_out = layout(shape, workload)
    return _flops(laid_out, shape, workload, laid_out.outputs)


def pretraining_workload(workload: Workload) -> Workload:
    """What the models of the stable path read and predict."""
    if workload.family.is_classifier_of_text:
        return replace(workload, family=workload.family.pretrained, classes=0)
    return workload


def training_step_flops(
    architecture: Architecture,
    workload: Workload,
    *,
    batch_size: int,
    length: float | None = None,
) -> int:
    """Training FLOPs of one optimiser step.

    Args:
        architecture: The model.
        workload: What it reads and predicts.
        batch_size: Sequences in a step.
        length: Tokens of a sequence, with its padding; their mean need not be a whole number. By
            default all sequences have full length.
    """
    if length is not None:
        short, rest = int(length), length - int(length)
        shorter, longer = (
            training_step_flops(
                architecture, replace(workload, sequence_length=tokens), batch_size=batch_size
            )
            for tokens in (max(1, short), short + 1)
        )
        return round((1.0 - rest) * shorter + rest * longer)
    laid_out = layout(architecture.shape, workload)
    forward = _flops(laid_out, architecture.shape, workload, laid_out.trained_outputs)
    return TRAINING_OVER_FORWARD * batch_size * forward


def _flops(laid_out: Layout, shape: Shape, workload: Workload, outputs: int) -> int:
    tokens = workload.sequence_length
    total = 2 * (laid_out.input_products + outputs * laid_out.head)
    for stack in laid_out.stacks:
        matrices = sum(w.count for w in stack.weights if w.role is Role.LINEAR)
        scores_and_values = 2 * tokens * shape.attention * len(stack.attentions)
        total += 2 * tokens * stack.depth * (matrices + scores_and_values)
    return total
