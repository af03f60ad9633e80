"""A checkpoint as arithmetic knows it: the layout of the whole model, and of what is kept of it.

``objectives.models.checkpoint.describe`` reads the layout from the model on torch's meta device and
writes it as JSON, so that sizes and FLOPs need neither torch nor a formula for each family of
models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from spaces.cost.architecture import Architecture, Shape
from spaces.cost.layout import VOCABULARY, WIDTH, Layout, Stack


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint, with the head of its task.

    Args:
        digest: SHA-256 of its files.
        auto_class: The Auto class of transformers that builds it.
        config: The configuration of transformers, as JSON.
        layout: Every weight of the whole model. It has one stack of layers, or those of an encoder
            and of a decoder, with equal heads and neurons.
        positions: Longest input in tokens; 0 where there is no limit.
    """

    digest: str
    auto_class: str
    config: str
    layout: Layout
    positions: int

    @property
    def stack(self) -> Stack:
        """Its layers; of an encoder and a decoder, those of the encoder."""
        return self.layout.stacks[0]

    @property
    def depth(self) -> int:
        """Its layers' number."""
        return self.stack.depth

    @property
    def decoder_depth(self) -> int:
        """Layers of its decoder beside an encoder; 0 without one."""
        return sum(stack.depth for stack in self.layout.stacks[1:])

    @property
    def width(self) -> int:
        """Hidden size, which every model keeps."""
        return self.layout.sizes[WIDTH]

    @property
    def attention(self) -> int:
        """Channels of all heads of a layer together, which ``space.width`` counts."""
        return self.stack.heads * self.stack.head_width

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding; 0 without one."""
        return self.layout.sizes[VOCABULARY]

    @property
    def has_equal_layers(self) -> bool:
        """Whether any of its layers can stand in the place of any other."""
        kinds = json.loads(self.config).get("layer_types") or []
        return len(set(kinds)) <= 1 and not any(
            stack.first_lacks or stack.first_only for stack in self.layout.stacks
        )

    def architecture(
        self,
        depth: int,
        width: int,
        *,
        decoder_depth: int | None = None,
        feed_forward: int | None = None,
        vocabulary: int = 0,
    ) -> Architecture:
        """What is kept of it.

        Args:
            depth: Layers.
            decoder_depth: Layers of the decoder, where there is one; by default as many as
                ``depth``, or all where it has fewer.
            width: Channels of the heads of a layer, a multiple of those that share a key and value.
            feed_forward: Neurons of a layer; by default in the proportion of the heads.
            vocabulary: Pieces; 0 keeps all.

        Raises:
            ValueError: It has less of something, or the width has no whole group of heads.
        """
        stack = self.stack
        unit = stack.group * stack.head_width
        if width % unit or not 0 < width <= self.attention:
            raise ValueError(
                f"{width} channels of heads cannot be kept; the checkpoint has {self.attention}, "
                f"allowed are multiples of {unit} up to it"
            )
        neurons = stack.neurons * width // self.attention if feed_forward is None else feed_forward
        if decoder_depth is None or not self.decoder_depth:
            decoder_depth = min(depth, self.decoder_depth)
        for noun, count, most in (
            ("layers", depth, self.depth),
            ("layers of the decoder", decoder_depth, self.decoder_depth),
            ("feed-forward neurons", neurons, stack.neurons),
            ("pieces", vocabulary, self.vocabulary),
        ):
            if count > most:
                raise ValueError(f"{count:,} {noun} are asked for; the checkpoint has {most:,}")
        return Architecture(
            depth,
            width,
            width // stack.head_width,
            neurons,
            decoder_depth=decoder_depth,
            vocabulary=vocabulary,
            head_group=stack.group,
        )

    def fault(self, dimension: str, value: int) -> str:
        """Why it has no such value of a dimension of the space; empty where it has."""
        sizes: dict[str, int] = {"depth": self.depth, "width": self.attention, dimension: value}
        try:
            self.architecture(**sizes)
        except ValueError as error:
            return str(error)
        return ""

    def layout_of(self, shape: Shape, vocabulary: int) -> Layout:
        """The layout of a model that keeps some layers, heads, neurons and pieces.

        Args:
            vocabulary: Rows of the token embedding.
        """
        sizes = {VOCABULARY: vocabulary} if self.vocabulary else {}
        return self.layout.resized(
            depths=(shape.depth, shape.decoder_depth),
            heads=shape.heads,
            neurons=shape.feed_forward,
            **sizes,
        )

    def to_json(self) -> str:
        """The text from which ``checkpoint_of`` makes it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["layout"] = json.loads(self.layout.to_json())
        return json.dumps(values, separators=(",", ":"))


@lru_cache(maxsize=100)
def checkpoint_of(description: str) -> Checkpoint:
    """The checkpoint of a description.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    values = json.loads(description)
    layout = Layout.from_json(json.dumps(values["layout"]))
    return Checkpoint(**{**values, "layout": layout})
