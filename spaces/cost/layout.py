"""The weights of a model as arithmetic: names, shapes and parameter counts without building it.

A family (``spaces.cost.families``) says how its models are laid out; what is here holds for all.
Tests hold every name and shape to the real modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod


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
        shape: ``(out, in)`` for linears, ``(rows, width)`` for embeddings; others stay dense.
        role: How it can be compressed.
    """

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def count(self) -> int:
        """Number of parameters."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Attention:
    """Names of the linear layers of one attention, below those of its layer.

    Args:
        query: Projection to queries; rows are the heads' channels.
        key: Projection to keys.
        value: Projection to values.
        output: Projection back to the width; its columns are the heads' channels.
    """

    query: str
    key: str
    value: str
    output: str


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Names of the linear layers of one feed-forward block, below those of its layer.

    Args:
        inputs: From the width to neurons: two where the block is gated.
        output: From the neurons back to the width.
    """

    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of equal layers.

    Args:
        prefix: Name of the list of layers; a layer's number follows it.
        depth: Layers.
        weights: Weights of one layer, named below it.
        attentions: Its attentions: two in a decoder.
        feed_forward: Its feed-forward block.
    """

    prefix: str
    depth: int
    weights: tuple[Weight, ...]
    attentions: tuple[Attention, ...]
    feed_forward: FeedForward

    def layer(self, index: int) -> Iterator[Weight]:
        """Weights of one layer under their whole names."""
        for weight in self.weights:
            yield replace(weight, name=f"{self.prefix}.{index}.{weight.name}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Every weight of a model, each stored once, and what the arithmetic of FLOPs needs.

    Args:
        ends: Weights outside the layers; a tied matrix is named once.
        stacks: Its stacks of layers.
        head: Multiplications of one output position: from hidden state to logits.
        outputs: Output positions of one sequence when the model answers.
        trained_outputs: Output positions of one sequence that training computes.
        input_products: Multiplications of one sequence before the layers.
    """

    ends: tuple[Weight, ...]
    stacks: tuple[Stack, ...]
    head: int
    outputs: int
    trained_outputs: int
    input_products: int = 0

    def weights(self) -> Iterator[Weight]:
        """Every weight."""
        yield from self.ends
        for stack in self.stacks:
            for index in range(stack.depth):
                yield from stack.layer(index)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(weight.count for weight in self.ends) + self.layer_parameters

    @property
    def layer_parameters(self) -> int:
        """Number of parameters of the layers alone."""
        return sum(s.depth * sum(weight.count for weight in s.weights) for s in self.stacks)


def linear(name: str, outputs: int, inputs: int, *, bias: bool = True) -> Iterator[Weight]:
    """Weights of a linear layer."""
    yield Weight(f"{name}.weight", (outputs, inputs), Role.LINEAR)
    if bias:
        yield Weight(f"{name}.bias", (outputs,), Role.DENSE)


def norm(name: str, width: int, *, bias: bool = True) -> Iterator[Weight]:
    """Weights of a normalisation."""
    yield Weight(f"{name}.weight", (width,), Role.DENSE)
    if bias:
        yield Weight(f"{name}.bias", (width,), Role.DENSE)


def embedding(name: str, rows: int, width: int) -> Weight:
    """Weight of an embedding."""
    return Weight(f"{name}.weight", (rows, width), Role.EMBEDDING)
