"""Building the model of an architecture: transformers' RoBERTa, also with pruned layers."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification

from objectives.tokenizer import END, PAD, START
from spaces.architecture import Architecture
from spaces.shapes import Workload

ROBERTA_WIDTH = 768
ROBERTA_DEVIATION = 0.02


def build_masked_lm(architecture: Architecture, workload: Workload) -> nn.Module:
    """An untrained masked language model, without dropout; its vocabulary head is tied."""
    model: nn.Module = RobertaForMaskedLM(_config(architecture, workload, dropout=0.0))
    return model


def build_classifier(
    architecture: Architecture, workload: Workload, *, sparsity: float = 0.0, dropout: float = 0.0
) -> nn.Module:
    """An untrained classifier.

    Args:
        architecture: Shape before pruning.
        workload: Vocabulary, sequence length and classes.
        sparsity: Structured sparsity: layers get the shapes that pruning would leave.
        dropout: Dropout of every layer and of the head.
    """
    model: nn.Module = RobertaForSequenceClassification(
        _config(architecture, workload, dropout=dropout)
    )
    if sparsity > 0.0:
        attention = architecture.kept_heads(sparsity) * architecture.head_width
        feed_forward = architecture.kept_feed_forward(sparsity)
        for layer in encoder_layers(model):
            _resize(layer, architecture.width, attention, feed_forward)
    return model


def encoder_layers(model: nn.Module) -> list[Any]:
    """The encoder's layers, first to last."""
    return list(model.get_submodule("roberta.encoder.layer").children())


def _resize(layer: Any, width: int, attention: int, feed_forward: int) -> None:
    for projection in ("query", "key", "value"):
        setattr(layer.attention.self, projection, nn.Linear(width, attention))
    layer.attention.output.dense = nn.Linear(attention, width)
    layer.intermediate.dense = nn.Linear(width, feed_forward)
    layer.output.dense = nn.Linear(feed_forward, width)


def _config(architecture: Architecture, workload: Workload, *, dropout: float) -> Any:
    # The variance of initial weights goes with 1 / width (Yang et al. 2022, arXiv 2203.03466,
    # table 3) and is RoBERTa's at RoBERTa's width.
    deviation = ROBERTA_DEVIATION * math.sqrt(ROBERTA_WIDTH / architecture.width)
    return RobertaConfig(
        vocab_size=workload.vocabulary_size,
        hidden_size=architecture.width,
        num_hidden_layers=architecture.depth,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=workload.positions,
        type_vocab_size=1,
        num_labels=workload.classes,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=deviation,
        bos_token_id=START,
        pad_token_id=PAD,
        eos_token_id=END,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
