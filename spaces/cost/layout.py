"""The weights of a model by arithmetic: names, shapes and counts, without building it.

Each family of models (``spaces.cost.families``) composes its layout from these parts. Tests compare
every name and shape with the real modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

from spaces.cost.architecture import Shape


class Role(StrEnum):
    """Kind of a weight, which determines how it can be compressed."""

    EMBEDDING = "embedding"
    LINEAR = "linear"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter tensor.

    Args:
        name: Its key in the model's ``state_dict``.
        shape: ``(out, in)`` for linears, ``(rows, width)`` for embeddings; others stay dense.
    """

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def count(self) -> int:
        """Number of parameters."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """Names of the linear layers of an attention or a feed-forward block, relative to its layer.

    Args:
        inputs: Those that read the residual stream: query, key and value, or one or, where the
            block is gated, two of a feed-forward block.
        output: The one that writes to it. Its columns are the channels of the heads, or the
            neurons.
        fused: Matrices that each of the inputs consists of, one below the other; each has a row
            for each column of the output.
    """

    inputs: tuple[str, ...]
    output: str
    fused: int = 1


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of equal layers.

    Args:
        prefix: Name of the list of layers; the index of a layer follows it.
        weights: Weights of one layer, with names relative to it.
        attentions: Attentions of one layer: two in a decoder.
        first_lacks: Names of the weights that the first layer does not have.
    """

    prefix: str
    depth: int
    weights: tuple[Weight, ...]
    attentions: tuple[Block, ...]
    feed_forward: Block
    first_lacks: tuple[str, ...] = ()

    def layer(self, index: int) -> Iterator[Weight]:
        """Weights of one layer under their whole names."""
        for weight in self.weights:
            if index == 0 and weight.name in self.first_lacks:
                continue
            yield replace(weight, name=f"{self.prefix}.{index}.{weight.name}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Every weight of a model, each stored once, and the counts that its FLOPs follow from.

    Args:
        ends: Weights outside the layers; a tied matrix is named once.
        logits_from: Name of the linear layer that gives the logits; where the token embedding
            does, that of the normalisation whose output it multiplies.
        head: Multiplications from the hidden state of one output position to its logits.
        outputs: Output positions of one sequence at inference.
        trained_outputs: Output positions of one sequence in training.
        input_products: Multiplications of one sequence before the layers.
        stream_from: Names of the weights whose sum is the residual stream before the first layer;
            empty where a normalisation stands between.
    """

    ends: tuple[Weight, ...]
    stacks: tuple[Stack, ...]
    logits_from: str
    head: int
    outputs: int
    trained_outputs: int
    input_products: int = 0
    stream_from: tuple[str, ...] = ()

    def weights(self) -> Iterator[Weight]:
        """Every weight."""
        yield from self.ends
        for stack in self.stacks:
            for index in range(stack.depth):
                yield from stack.layer(index)

    @property
    def is_tied(self) -> bool:
        """Whether the token embedding gives the logits."""
        matrix = f"{self.logits_from}.weight"
        return all(w.name != matrix or w.role is not Role.LINEAR for w in self.ends)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(weight.count for weight in self.ends) + self.layer_parameters

    @property
    def layer_parameters(self) -> int:
        """Number of parameters of the layers alone."""
        return sum(
            sum(weight.count for weight in stack.layer(0))
            + (stack.depth - 1) * sum(weight.count for weight in stack.weights)
            for stack in self.stacks
        )


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


def stack(
    prefix: str,
    depth: int,
    shape: Shape,
    *,
    attentions: tuple[Block, ...],
    feed_forward: Block,
    norms: tuple[str, ...],
    bias: bool = True,
    first_lacks: tuple[str, ...] = (),
) -> Stack:
    """A stack of equal layers whose linear layers have the widths of ``shape``.

    Args as those of ``Stack``, and:
        norms: Names of a layer's normalisations.
        bias: Whether linear layers and normalisations have a bias.
    """
    weights: list[Weight] = []
    for attention in attentions:
        for name in attention.inputs:
            weights += linear(name, attention.fused * shape.attention, shape.width, bias=bias)
        weights += linear(attention.output, shape.width, shape.attention, bias=bias)
    for name in feed_forward.inputs:
        rows = feed_forward.fused * shape.feed_forward
        weights += linear(name, rows, shape.width, bias=bias)
    weights += linear(feed_forward.output, shape.width, shape.feed_forward, bias=bias)
    for name in norms:
        weights += norm(name, shape.width, bias=bias)
    return Stack(prefix, depth, tuple(weights), attentions, feed_forward, first_lacks)
