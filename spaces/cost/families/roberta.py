"""RoBERTa (Liu et al. 2019, arXiv 1907.11692) as transformers lays it out."""

from __future__ import annotations

from collections.abc import Iterator

from spaces.cost.layout import (
    Attention,
    FeedForward,
    Layout,
    Role,
    Stack,
    Weight,
    embedding,
    linear,
    norm,
)
from spaces.cost.shape import Shape
from spaces.cost.workload import Workload

MASKED_FRACTION = 0.15
"""Share of tokens that masked language modelling predicts (Devlin et al. 2019, section 3.1)."""


def masked_tokens(sequence_length: int) -> int:
    """Tokens of one sequence that are predicted, at least one."""
    return max(1, round(MASKED_FRACTION * sequence_length))


def classifier_layout(shape: Shape, workload: Workload) -> Layout:
    """``RobertaForSequenceClassification``."""
    width = shape.width
    head = (
        *linear("classifier.dense", width, width),
        *linear("classifier.out_proj", workload.classes, width),
    )
    return Layout(
        ends=(*_embeddings(width, workload), *head),
        stacks=(_stack(shape),),
        head=width * (width + workload.classes),
        outputs=1,
        trained_outputs=1,
    )


def masked_lm_layout(shape: Shape, workload: Workload) -> Layout:
    """``RobertaForMaskedLM``; the vocabulary matrix of its head is the token embedding."""
    width = shape.width
    head = (
        *linear("lm_head.dense", width, width),
        *norm("lm_head.layer_norm", width),
        Weight("lm_head.bias", (workload.vocabulary_size,), Role.DENSE),
    )
    return Layout(
        ends=(*_embeddings(width, workload), *head),
        stacks=(_stack(shape),),
        head=width * (width + workload.vocabulary_size),
        outputs=workload.sequence_length,
        trained_outputs=masked_tokens(workload.sequence_length),
    )


def _embeddings(width: int, workload: Workload) -> Iterator[Weight]:
    rows = {
        "word": workload.vocabulary_size,
        "position": workload.positions,
        "token_type": 1,
    }
    for kind, count in rows.items():
        yield embedding(f"roberta.embeddings.{kind}_embeddings", count, width)
    yield from norm("roberta.embeddings.LayerNorm", width)


def _stack(shape: Shape) -> Stack:
    width, attention, feed_forward = shape.width, shape.attention, shape.feed_forward
    weights = (
        *linear("attention.self.query", attention, width),
        *linear("attention.self.key", attention, width),
        *linear("attention.self.value", attention, width),
        *linear("attention.output.dense", width, attention),
        *norm("attention.output.LayerNorm", width),
        *linear("intermediate.dense", feed_forward, width),
        *linear("output.dense", width, feed_forward),
        *norm("output.LayerNorm", width),
    )
    return Stack(
        prefix="roberta.encoder.layer",
        depth=shape.depth,
        weights=weights,
        attentions=(
            Attention(
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ),
        ),
        feed_forward=FeedForward(("intermediate.dense",), "output.dense"),
    )
