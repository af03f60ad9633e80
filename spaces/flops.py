"""Floating-point operations of training and inference, by arithmetic.

A multiply and an add count as two. Only matrix products count, as in Kaplan et al. 2020
(arXiv 2001.08361), table 1, and Hoffmann et al. 2022 (arXiv 2203.15556), appendix F, which includes
the attention products that the first leaves out. The backward pass costs twice the forward pass.
Tests hold the formulas to ``torch.utils.flop_counter``.
"""

from __future__ import annotations

from spaces.architecture import Architecture
from spaces.shapes import Workload

MASKED_SHARE = 0.15
"""Share of tokens that masked language modelling predicts (Devlin et al. 2019, section 3.1)."""

TRAINING_OVER_FORWARD = 3


def masked_tokens(sequence_length: int) -> int:
    """Tokens of one sequence that are predicted, at least one."""
    return max(1, round(MASKED_SHARE * sequence_length))


def encoder_flops(
    architecture: Architecture, sequence_length: int, *, sparsity: float = 0.0
) -> int:
    """Forward FLOPs of all layers for one sequence, after structured pruning at ``sparsity``."""
    attention = architecture.kept_heads(sparsity) * architecture.head_width
    feed_forward = architecture.kept_feed_forward(sparsity)
    projections = 4 * architecture.width * attention + 2 * architecture.width * feed_forward
    scores_and_values = 2 * sequence_length * attention
    return 2 * sequence_length * architecture.depth * (projections + scores_and_values)


def forward_flops(architecture: Architecture, workload: Workload, *, sparsity: float = 0.0) -> int:
    """Forward FLOPs of the classifier for one sequence of full length."""
    width = architecture.width
    head = 2 * (width * width + width * workload.classes)
    return encoder_flops(architecture, workload.sequence_length, sparsity=sparsity) + head


def pretraining_step_flops(
    architecture: Architecture, workload: Workload, *, batch_size: int
) -> int:
    """Training FLOPs of one masked-language-model step; only masked tokens reach the head."""
    width = architecture.width
    head = 2 * masked_tokens(workload.sequence_length) * width * (width + workload.vocabulary_size)
    forward = encoder_flops(architecture, workload.sequence_length) + head
    return TRAINING_OVER_FORWARD * batch_size * forward


def fine_tuning_step_flops(
    architecture: Architecture, workload: Workload, *, batch_size: int
) -> int:
    """Training FLOPs of one classification step on sequences of full length."""
    return TRAINING_OVER_FORWARD * batch_size * forward_flops(architecture, workload)
