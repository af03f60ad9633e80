"""The weights of a model as arithmetic: names, shapes and parameter counts without building it.

The layout is that of ``transformers``' RoBERTa (Liu et al. 2019, arXiv 1907.11692); a test holds
every name and shape to the real module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from spaces.architecture import Architecture

POSITION_OFFSET = 2
"""RoBERTa numbers positions from its padding index + 1, so two rows are never read."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What every model of a search reads and answers.

    Args:
        vocabulary_size: Rows of the token embedding.
        sequence_length: Longest input in tokens.
        classes: Answers that the classifier chooses from.
    """

    vocabulary_size: int
    sequence_length: int
    classes: int

    @property
    def positions(self) -> int:
        """Rows of the position embedding."""
        return self.sequence_length + POSITION_OFFSET


class Role(StrEnum):
    """What a weight is, which decides how it can be compressed."""

    EMBEDDING = "embedding"
    LINEAR = "linear"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter tensor.

    Args:
        name: Its key in the model's ``state_dict``.
        shape: ``(out, in)`` for linears, ``(rows, width)`` for embeddings, ``(n,)`` for vectors.
        role: How it can be compressed; vectors stay dense.
    """

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def count(self) -> int:
        """Number of parameters."""
        return prod(self.shape)


def _linear(name: str, outputs: int, inputs: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (outputs, inputs), Role.LINEAR)
    yield Weight(f"{name}.bias", (outputs,), Role.DENSE)


def _norm(name: str, width: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (width,), Role.DENSE)
    yield Weight(f"{name}.bias", (width,), Role.DENSE)


def layer_weights(
    architecture: Architecture, layer: int = 0, *, sparsity: float = 0.0
) -> Iterator[Weight]:
    """Weights of one encoder layer after structured pruning at ``sparsity`` (0 to 1)."""
    width = architecture.width
    attention = architecture.kept_heads(sparsity) * architecture.head_width
    feed_forward = architecture.kept_feed_forward(sparsity)
    prefix = f"roberta.encoder.layer.{layer}"
    for projection in ("query", "key", "value"):
        yield from _linear(f"{prefix}.attention.self.{projection}", attention, width)
    yield from _linear(f"{prefix}.attention.output.dense", width, attention)
    yield from _norm(f"{prefix}.attention.output.LayerNorm", width)
    yield from _linear(f"{prefix}.intermediate.dense", feed_forward, width)
    yield from _linear(f"{prefix}.output.dense", width, feed_forward)
    yield from _norm(f"{prefix}.output.LayerNorm", width)


def ends_weights(architecture: Architecture, workload: Workload) -> Iterator[Weight]:
    """Weights outside the layers: the embeddings and the classification head."""
    width = architecture.width
    rows = {
        "word": workload.vocabulary_size,
        "position": workload.positions,
        "token_type": 1,
    }
    for kind, count in rows.items():
        name = f"roberta.embeddings.{kind}_embeddings.weight"
        yield Weight(name, (count, width), Role.EMBEDDING)
    yield from _norm("roberta.embeddings.LayerNorm", width)
    yield from _linear("classifier.dense", width, width)
    yield from _linear("classifier.out_proj", workload.classes, width)


def classifier_weights(
    architecture: Architecture, workload: Workload, *, sparsity: float = 0.0
) -> Iterator[Weight]:
    """Every weight of the classifier after structured pruning at ``sparsity`` (0 to 1)."""
    yield from ends_weights(architecture, workload)
    for layer in range(architecture.depth):
        yield from layer_weights(architecture, layer, sparsity=sparsity)


def parameters(architecture: Architecture, workload: Workload, *, sparsity: float = 0.0) -> int:
    """Parameters of the classifier after structured pruning at ``sparsity`` (0 to 1)."""
    ends = sum(weight.count for weight in ends_weights(architecture, workload))
    layer = sum(weight.count for weight in layer_weights(architecture, sparsity=sparsity))
    return ends + architecture.depth * layer
