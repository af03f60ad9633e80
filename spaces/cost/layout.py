"""The layout of a model: every weight with its shape, and what is multiplied for each token.

``objectives.models.layout`` reads it from the modules of a model, so that no family needs formulas.
It is plain JSON, from which parameters, bytes after any compression (``spaces.cost.size``) and
FLOPs (``spaces.cost.flops``) are computed without torch. Dimensions have names, so that the layout
of a model with other sizes follows from it: ``resized`` and ``pruned``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

from pydantic import TypeAdapter

from spaces.cost.architecture import kept, kept_neurons

WIDTH, VOCABULARY = "width", "vocabulary"
HEADS, ATTENTION, KEY_VALUE, NEURONS = "heads", "attention", "key_value", "neurons"


class Role(StrEnum):
    """Kind of a weight, which determines how it can be compressed."""

    EMBEDDING = "embedding"
    LINEAR = "linear"
    DENSE = "dense"


class Reads(StrEnum):
    """What a matrix is multiplied with, in the forward pass of one sequence.

    ``tokens``: every token. ``patches``: every token of an image that is a patch. ``outputs``:
    every position that predicts, behind the layers. ``sequence``: one state of the sequence.
    """

    NOTHING = "nothing"
    TOKENS = "tokens"
    PATCHES = "patches"
    OUTPUTS = "outputs"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter tensor.

    Args:
        name: Its key in the model's ``state_dict``.
        shape: ``(out, in)`` for linears, ``(rows, width)`` for embeddings; others stay dense.
        axes: Name of the size that each dimension is a multiple of; empty for what no size
            changes. Of a layer: ``attention`` and ``key_value`` (channels of all its heads, and of
            its key-value heads), ``heads`` and ``neurons``. Of all: ``width``, ``vocabulary``, and
            the other names of ``Layout.sizes``.
        reads: What it is multiplied with. An embedding is multiplied where it is tied to the head.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    axes: tuple[str, ...] = ()
    reads: Reads = Reads.NOTHING

    @property
    def count(self) -> int:
        """Number of parameters."""
        return prod(self.shape)

    def resized(self, old: Mapping[str, int], new: Mapping[str, int]) -> Weight:
        """The same in a model with other sizes."""
        shape = tuple(
            size * new[axis] // old[axis] if axis in new else size
            for size, axis in zip(self.shape, self.axes, strict=True)
        )
        return Weight(self.name, shape, self.role, self.axes, self.reads)


@dataclass(frozen=True, slots=True)
class Block:
    """Names of the linear layers of an attention or a feed-forward block, relative to its layer.

    Args:
        inputs: Those that read the residual stream: query, key and value, or one or, where the
            block is gated, two of a feed-forward block.
        output: The one that writes to it. Its columns are the channels of the heads, or the
            neurons.
        fused: Matrices that each of the inputs consists of, one below the other; each has a row
            for each column of the output, or, of keys and values that several heads share, for
            each channel of the key-value heads.
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
        heads: Query heads of an attention. Channels of head ``i`` are those from
            ``i * head_width`` on, in the columns of the output and the rows of the inputs.
        key_value_heads: Heads of keys and values; each serves as many neighbouring query heads.
        neurons: Columns of the feed-forward block's output.
        first_lacks: Names of the weights that the first layer does not have.
        first_only: Names of those that only the first layer has, and that serve all layers.
    """

    prefix: str
    depth: int
    weights: tuple[Weight, ...]
    attentions: tuple[Block, ...]
    feed_forward: Block
    heads: int
    key_value_heads: int
    head_width: int
    neurons: int
    first_lacks: tuple[str, ...] = ()
    first_only: tuple[str, ...] = ()

    def layer(self, index: int) -> Iterator[Weight]:
        """Weights of one layer under their whole names."""
        for weight in self.weights_of(index):
            yield replace(weight, name=f"{self.prefix}.{index}.{weight.name}")

    def weights_of(self, index: int) -> Iterator[Weight]:
        """Weights of one layer, with names relative to it."""
        absent = self.first_only if index else self.first_lacks
        return (weight for weight in self.weights if weight.name not in absent)

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return self.heads // self.key_value_heads

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes by the names of the axes."""
        return {
            HEADS: self.heads,
            ATTENTION: self.heads * self.head_width,
            KEY_VALUE: self.key_value_heads * self.head_width,
            NEURONS: self.neurons,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """Every weight of a model, each stored once.

    Args:
        ends: Weights outside the layers; a tied matrix is named once.
        stacks: One, or those of the encoder and of the decoder.
        sizes: ``width`` and ``vocabulary`` (0 for images), and others that weights outside the
            layers depend on, such as ``positions`` and ``classes``.
        logits_from: Name of the linear layer that gives the logits; where the token embedding
            does, that of the normalisation whose output it multiplies.
        stream_from: Names of the weights whose sum is the residual stream before the first layer;
            empty where a normalisation stands between.
        special_tokens: Tokens of an image that are no patches, such as the class token.
    """

    ends: tuple[Weight, ...]
    stacks: tuple[Stack, ...]
    sizes: dict[str, int]
    logits_from: str
    stream_from: tuple[str, ...] = ()
    special_tokens: int = 0

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
            layers * sum(weight.count for weight in stack.weights_of(index))
            for stack in self.stacks
            for index, layers in ((0, 1), (1, stack.depth - 1))
        )

    def resized(
        self,
        *,
        depths: Sequence[int] | None = None,
        heads: int | None = None,
        head_width: int | None = None,
        neurons: int | None = None,
        **sizes: int,
    ) -> Layout:
        """The layout of the same kind of model with other sizes; those left out stay as they are.

        Args:
            depths: Layers of each stack.
            heads: Query heads of every layer; those that share a key-value head stay as many.
            head_width: Width of a head.
            neurons: Feed-forward neurons of every layer.
            sizes: As in ``Layout.sizes``: ``vocabulary``, ``width``, ...

        Raises:
            ValueError: ``heads`` is no multiple of the heads that share a key-value head, a size
                is unknown, or a number is not positive.
        """
        unknown = sorted(sizes.keys() - self.sizes.keys())
        if unknown:
            raise ValueError(f"a layout with the sizes {', '.join(self.sizes)} has no {unknown[0]}")
        new_sizes = self.sizes | sizes
        stacks = tuple(
            _resized(
                stack,
                depth=stack.depth if depths is None else depths[index],
                heads=stack.heads if heads is None else heads,
                head_width=stack.head_width if head_width is None else head_width,
                neurons=stack.neurons if neurons is None else neurons,
                sizes=(self.sizes, new_sizes),
            )
            for index, stack in enumerate(self.stacks)
        )
        ends = tuple(weight.resized(self.sizes, new_sizes) for weight in self.ends)
        return replace(self, ends=ends, stacks=stacks, sizes=new_sizes)

    def pruned(
        self, *, heads: float = 0.0, feed_forward: float = 0.0, layers: float = 0.0
    ) -> Layout:
        """The layout after structured pruning, as ``Architecture.pruned``.

        Args:
            heads: Fraction of each layer's heads to remove. Where heads share keys and values, they
                go with these.
            feed_forward: Fraction of each layer's feed-forward neurons to remove.
            layers: Fraction of each stack's layers to remove.
        """
        stacks = tuple(
            _resized(
                stack,
                depth=kept(stack.depth, layers),
                heads=stack.group * kept(stack.key_value_heads, heads),
                head_width=stack.head_width,
                neurons=kept_neurons(stack.neurons, feed_forward),
                sizes=(self.sizes, self.sizes),
            )
            for stack in self.stacks
        )
        return replace(self, stacks=stacks)

    def to_json(self) -> str:
        """A line of JSON, without what has its default."""
        return _AS_JSON.dump_json(self, exclude_defaults=True).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Layout:
        """Inverse of ``to_json``.

        Raises:
            pydantic.ValidationError: It is no JSON of a layout.
        """
        return _AS_JSON.validate_json(text)


def _resized(
    stack: Stack,
    *,
    depth: int,
    heads: int,
    head_width: int,
    neurons: int,
    sizes: tuple[dict[str, int], dict[str, int]],
) -> Stack:
    """A stack with other sizes; ``sizes`` are the old and the new ones of the whole model."""
    if heads % stack.group:
        raise ValueError(f"{heads} heads are no multiple of {stack.group}, which share keys")
    if min(depth, heads, head_width, neurons) < 1:
        raise ValueError(f"{stack.prefix}: layers, heads and neurons must be positive")
    shared = heads // stack.group
    new = replace(stack, depth=depth, heads=heads, key_value_heads=shared, head_width=head_width,
                  neurons=neurons)  # fmt: skip
    before, after = sizes[0] | stack.sizes, sizes[1] | new.sizes
    return replace(new, weights=tuple(weight.resized(before, after) for weight in stack.weights))


_AS_JSON = TypeAdapter(Layout)
