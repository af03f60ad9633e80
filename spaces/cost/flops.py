"""Floating-point operations of training and inference, by arithmetic.

A multiply and an add count as two. Only matrix products count, as in Kaplan et al. 2020
(arXiv 2001.08361), table 1, and Hoffmann et al. 2022 (arXiv 2203.15556), appendix F, which includes
the attention products that the first leaves out. The backward pass costs twice the forward pass.
What is multiplied with what, the layout of the model says. Sequences count at full length, in
encoder and decoder, unless lengths are given. Tests compare the numbers with
``torch.utils.flop_counter``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.families import layout
from spaces.cost.layout import Layout, Reads, Stack
from spaces.cost.workload import Workload, masked_tokens

TRAINING_OVER_FORWARD = 3


def forward_flops(shape: Shape, workload: Workload) -> int:
    """Forward FLOPs of a model for one sequence of full length."""
    length, target = workload.sequence_length, workload.target_length
    return sequence_flops(layout(shape, workload), length, target=target or None)


def pretraining_workload(workload: Workload) -> Workload:
    """What the models of the stable path read and predict."""
    if workload.family.is_classifier_of_text:
        return replace(workload, family=workload.family.pretrained, classes=0)
    return workload


@lru_cache(maxsize=10_000)
def training_step_flops(
    architecture: Architecture,
    workload: Workload,
    *,
    batch_size: int,
    length: float | None = None,
    target: float | None = None,
) -> int:
    """Training FLOPs of one optimiser step.

    Args:
        architecture: The model.
        workload: What it reads and predicts.
        batch_size: Sequences in a step.
        length: Tokens of a sequence, with its padding; their mean need not be a whole number. By
            default all sequences have full length.
        target: The same of what a decoder writes.
    """
    if length is None:
        length, target = workload.sequence_length, workload.target_length or None
    outputs = masked_tokens(int(length)) if workload.family.is_masked_lm else None
    laid_out = layout(architecture.shape, workload)
    forward = sequence_flops(laid_out, length, target=target, outputs=outputs)
    return TRAINING_OVER_FORWARD * batch_size * forward


def sequence_flops(
    laid_out: Layout, tokens: float, *, target: float | None = None, outputs: float | None = None
) -> int:
    """Forward FLOPs of the model of a layout, pruned or not, for one sequence.

    Args:
        laid_out: The layout.
        tokens: Tokens of the sequence that is read; their mean need not be a whole number. Of an
            image, its patches and special tokens.
        target: Tokens of the sequence that a decoder writes; by default as many.
        outputs: Positions that predict, of those behind the layers; all by default.
    """
    written = tokens if target is None else target
    rows = {
        Reads.NOTHING: 0,
        Reads.TOKENS: tokens,
        Reads.PATCHES: tokens - laid_out.special_tokens,
        Reads.OUTPUTS: (written if len(laid_out.stacks) > 1 else tokens)
        if outputs is None
        else outputs,
        Reads.SEQUENCE: 1,
    }
    total: float = sum(rows[weight.reads] * weight.count for weight in laid_out.ends)
    lengths = (tokens, written)
    for stack, length in zip(laid_out.stacks, lengths, strict=False):
        total += stack.depth * _layer_products(stack, length, tokens)
    return round(2 * total)


def _layer_products(stack: Stack, tokens: float, source: float) -> float:
    """Multiplications of a layer, for one sequence.

    Args:
        tokens: Those of the sequence.
        source: Tokens of the encoder, which a decoder's second attention reads.
    """
    _, *across = stack.attentions
    # Its queries are of the decoder, its keys and values of the encoder.
    of_source = {f"{name}.weight" for block in across for name in block.inputs[1:]}
    products = sum(
        (source if weight.name in of_source else tokens) * weight.count
        for weight in stack.weights
        if weight.reads is not Reads.NOTHING
    )
    pairs = tokens**2 + len(across) * tokens * source
    return products + 2 * pairs * stack.heads * stack.head_width
