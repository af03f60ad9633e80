"""Floating-point operations of training and inference, by arithmetic.

A multiply and an add count as two. Only matrix products count, as in Kaplan et al. 2020
(arXiv 2001.08361), table 1, and Hoffmann et al. 2022 (arXiv 2203.15556), appendix F, which includes
the attention products that the first leaves out. The backward pass costs twice the forward pass.
What is multiplied with what, the layout of the model says. Sequences count at full length, in
encoder and decoder alike, unless a length is given. Tests compare the numbers with
``torch.utils.flop_counter``.
"""

from __future__ import annotations

from dataclasses import replace

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.families import layout
from spaces.cost.layout import Layout, Reads, Weight
from spaces.cost.workload import Workload, masked_tokens

TRAINING_OVER_FORWARD = 3


def forward_flops(shape: Shape, workload: Workload) -> int:
    """Forward FLOPs of a model for one sequence of full length."""
    return sequence_flops(layout(shape, workload), workload.sequence_length)


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
    laid_out = layout(architecture.shape, workload)

    def flops(tokens: int) -> int:
        outputs = masked_tokens(tokens) if workload.family.is_masked_lm else None
        forward = sequence_flops(laid_out, tokens, outputs=outputs)
        return TRAINING_OVER_FORWARD * batch_size * forward

    if length is None:
        return flops(workload.sequence_length)
    short, rest = int(length), length - int(length)
    return round((1.0 - rest) * flops(max(1, short)) + rest * flops(short + 1))


def sequence_flops(laid_out: Layout, tokens: int, *, outputs: int | None = None) -> int:
    """Forward FLOPs of the model of a layout, pruned or not, for one sequence.

    Args:
        laid_out: The layout.
        tokens: Tokens of the sequence; of an encoder and of a decoder each. Of an image, its
            patches and special tokens.
        outputs: Positions that predict, of those behind the layers; all by default.
    """
    rows = {
        Reads.NOTHING: 0,
        Reads.TOKENS: tokens,
        Reads.PATCHES: tokens - laid_out.special_tokens,
        Reads.OUTPUTS: tokens if outputs is None else outputs,
        Reads.SEQUENCE: 1,
    }

    def products(weight: Weight) -> int:
        return rows[weight.reads] * weight.count

    total = sum(map(products, laid_out.ends))
    for stack in laid_out.stacks:
        scores_and_values = 2 * tokens**2 * stack.heads * stack.head_width * len(stack.attentions)
        total += stack.depth * (sum(map(products, stack.weights)) + scores_and_values)
    return 2 * total
