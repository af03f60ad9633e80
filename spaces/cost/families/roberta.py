"""RoBERTa (Liu et al. 2019, arXiv 1907.11692) as transformers lays it out."""

from __future__ import annotations

from spaces.cost.layout import (
    Attention,
    FeedForward,
    Layout,
    Role,
    Weight,
    embedding,
    linear,
    norm,
    stack,
)
from spaces.cost.shape import Shape
from spaces.cost.workload import Family, Workload

MASKED_FRACTION = 0.15
"""Fraction of tokens that masked language modelling predicts (Devlin et al. 2019, section 3.1)."""

ATTENTION = Attention(
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"
)
FEED_FORWARD = FeedForward(("intermediate.dense",), "output.dense")


def masked_tokens(sequence_length: int) -> int:
    """Tokens of one sequence that are predicted, at least one."""
    return max(1, round(MASKED_FRACTION * sequence_length))


def layout(shape: Shape, workload: Workload) -> Layout:
    """``RobertaForSequenceClassification``, or ``RobertaForMaskedLM``, the vocabulary matrix of
    whose head is the token embedding."""
    width, vocabulary_size, length = shape.width, workload.vocabulary_size, workload.sequence_length
    is_classifier = workload.family is Family.ROBERTA_CLASSIFIER
    head = (
        (
            *linear("classifier.dense", width, width),
            *linear("classifier.out_proj", workload.classes, width),
        )
        if is_classifier
        else (
            *linear("lm_head.dense", width, width),
            *norm("lm_head.layer_norm", width),
            Weight("lm_head.bias", (vocabulary_size,), Role.DENSE),
        )
    )
    return Layout(
        ends=(
            embedding("roberta.embeddings.word_embeddings", vocabulary_size, width),
            embedding("roberta.embeddings.position_embeddings", workload.positions, width),
            embedding("roberta.embeddings.token_type_embeddings", 1, width),
            *norm("roberta.embeddings.LayerNorm", width),
            *head,
        ),
        stacks=(
            stack(
                "roberta.encoder.layer",
                shape.depth,
                shape,
                attentions=(ATTENTION,),
                feed_forward=FEED_FORWARD,
                norms=("attention.output.LayerNorm", "output.LayerNorm"),
            ),
        ),
        head=width * (width + workload.outputs),
        outputs=1 if is_classifier else length,
        trained_outputs=1 if is_classifier else masked_tokens(length),
    )
