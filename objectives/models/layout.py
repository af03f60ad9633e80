"""The layout of any Transformer of transformers, read from its modules on torch's meta device.

There is no table of architectures: layers are the members of a list of modules, their parts follow
from the order in which they are executed (``objectives.models.layer_reading``), and an architecture
that does not fit is refused.

A layout lists parameters. Persistent buffers, such as ``final_logits_bias`` of Marian, are not in
it: a checkpoint in which they are not zero needs them beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import nn

from objectives.models.forward_trace import (
    Attention,
    Event,
    Normalisation,
    Product,
    is_normalisation,
    on_meta_device,
    trace,
)
from objectives.models.layer_reading import ExecutedLayer, UnfitError, read_layers
from spaces.cost.layout import (
    ATTENTION,
    HEADS,
    KEY_VALUE,
    NEURONS,
    VOCABULARY,
    WIDTH,
    Layout,
    Reads,
    Role,
    Stack,
    Weight,
)
from spaces.errors import UserError


class UnknownArchitectureError(UserError):
    """A model whose layers are not those of a Transformer as tlc knows them."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(
            f"{model} cannot be laid out: {reason}; tlc needs equal layers of attention (query, "
            "key, value and output) and of one feed-forward block"
        )


def layout_of(config: Any, auto_class: Any, *, sizes: dict[str, int] | None = None) -> Layout:
    """The layout of the model of a configuration, without building its weights.

    Args:
        config: Configuration of transformers.
        auto_class: Class that builds the model, such as ``AutoModelForCausalLM``, or its own class.
        sizes: Further names for the dimensions of weights outside the layers that have these
            sizes, such as ``positions``; they must differ from each other.

    Raises:
        UnknownArchitectureError: The model is not laid out as a Transformer.
    """
    name = type(config).__name__.removesuffix("Config")
    return traced_layout(name, lambda: on_meta_device(config, auto_class), sizes=sizes)


def traced_layout(
    name: str,
    build: Callable[[], nn.Module],
    *,
    sizes: dict[str, int] | None = None,
    inputs: Mapping[str, torch.Tensor] | None = None,
) -> Layout:
    """The layout of a model that ``build`` makes on the meta device, as of ``layout_of``.

    Args:
        name: Of the model, for messages.
        inputs: As of ``trace``.

    Raises:
        UnknownArchitectureError: The model is not laid out as a Transformer.
    """
    try:
        model = build()
        events = trace(model, inputs)
    except (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnknownArchitectureError(name, f"transformers cannot run it: {reason}") from error
    try:
        return _Reader(model, events, sizes or {}).layout()
    except UnfitError as error:
        raise UnknownArchitectureError(name, str(error)) from error


class _Reader:
    """Reads the layout of a model.

    Args:
        model: On the meta device.
        events: Of its forward pass.
        sizes: Names of sizes, besides the width and the vocabulary.
    """

    def __init__(self, model: Any, events: list[Event], sizes: dict[str, int]) -> None:
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
        calls = Counter(event.name for event in events if isinstance(event, Product))
        repeated, count = calls.most_common(1)[0]
        if count > 1:
            raise UnfitError(f"{repeated} is executed {count} times for a sequence")
        self.layers = list(read_layers(events, self.modules))
        if not self.layers:
            raise UnfitError("no layer computes attention by scaled_dot_product_attention")
        self.events = [event for event in events if not isinstance(event, Attention)]
        self.rows = {event.name: event.rows for event in events if isinstance(event, Product)}
        prefix, layer = self.layers[0]
        output = f"{prefix}.0.{layer.feed_forward.output}"
        self.tokens = self.rows[output]
        embedding = model.get_input_embeddings()
        self.sizes = {
            WIDTH: len(self.parameters[f"{output}.weight"]),
            VOCABULARY: embedding.num_embeddings if isinstance(embedding, nn.Embedding) else 0,
            **sizes,
        }

    def layout(self) -> Layout:
        """The layout.

        Raises:
            UnfitError: The model is not laid out as a Transformer.
        """
        stacks = tuple(
            self._stack(prefix, [layer for _, layer in layers])
            for prefix, layers in groupby(self.layers, key=lambda pair: pair[0])
        )
        prefixes = tuple(f"{stack.prefix}." for stack in stacks)
        places = [i for i, event in enumerate(self.events) if event.name.startswith(prefixes)]
        before = {event.name for event in self.events[: places[0]]}
        behind = {event.name for event in self.events[places[-1] + 1 :]}
        ends = [
            self._end(name, parameter, behind)
            for name, parameter in self.parameters.items()
            if not name.startswith(prefixes)
        ]
        # Initial weights are drawn in this order.
        ends.sort(key=lambda w: -w.shape[0] if w.role is Role.EMBEDDING else 0)
        patches = [
            self.rows[_module(weight.name)] for weight in ends if weight.reads is Reads.PATCHES
        ]
        is_normalised = any(is_normalisation(self.modules[name]) for name in before)
        return Layout(
            ends=tuple(ends),
            stacks=stacks,
            sizes=self.sizes,
            logits_from=self._logits_from(),
            stream_from=()
            if is_normalised
            else tuple(
                weight.name
                for weight in ends
                if _module(weight.name) not in behind
                and not is_normalisation(self.modules[_module(weight.name)])
            ),
            special_tokens=self.tokens - patches[0] if patches else 0,
        )

    def _stack(self, prefix: str, layers: list[ExecutedLayer]) -> Stack:
        depth = len(self.modules[prefix])  # type: ignore[arg-type]
        if len({*layers}) > 1 or len(layers) != depth:
            raise UnfitError(f"the layers of {prefix} differ")
        each = [self._weights(f"{prefix}.{index}.", layers[0]) for index in range(depth)]
        first, others = each[0], each[-1]
        if any(weights != others for weights in each[1:]):
            raise UnfitError(f"the layers of {prefix} differ")
        common = first.keys() & others.keys()
        if any(first[name] != others[name] for name in common):
            raise UnfitError(f"the first layer of {prefix} has other shapes than the others")
        return Stack(
            prefix=prefix,
            depth=depth,
            weights=tuple((others | first).values()),
            attentions=layers[0].attentions,
            feed_forward=layers[0].feed_forward,
            heads=layers[0].heads,
            key_value_heads=layers[0].key_value_heads,
            head_width=layers[0].head_width,
            neurons=layers[0].neurons,
            first_lacks=tuple(name for name in others if name not in common),
            first_only=tuple(name for name in first if name not in common),
        )

    def _weights(self, prefix: str, layer: ExecutedLayer) -> dict[str, Weight]:
        """Weights of a layer by their names relative to it: first those of its linear layers, as
        they are executed."""
        axes = _axes_of_linears(layer)
        names = [f"{linear}.{kind}" for linear in axes for kind in ("weight", "bias")]
        relative = [n.removeprefix(prefix) for n in self.parameters if n.startswith(prefix)]
        weights = {}
        for name in sorted(relative, key=lambda n: names.index(n) if n in names else len(names)):
            linear, _, kind = name.rpartition(".")
            module = self.modules[_module(prefix + name)]
            shape = tuple(self.parameters[prefix + name].shape)
            if linear in axes and kind == "weight":
                weight = Weight(name, shape, Role.LINEAR, axes[linear], Reads.TOKENS)
            elif linear in axes and kind == "bias":
                weight = Weight(name, shape, Role.DENSE, axes[linear][:1])
            elif isinstance(module, nn.Embedding):
                # The bias of relative positions.
                if shape[1] != layer.heads:
                    raise UnfitError(f"{prefix}{name} is an embedding of shape {shape}")
                weight = Weight(name, shape, Role.EMBEDDING, ("", HEADS))
            elif shape in ((self.sizes[WIDTH],), (layer.head_width,)):
                is_wide = shape == (self.sizes[WIDTH],)
                weight = Weight(name, shape, Role.DENSE, (WIDTH if is_wide else "",))
            else:
                raise UnfitError(f"{prefix}{name} of shape {shape} belongs to none of these")
            weights[name] = weight
        return weights

    def _end(self, name: str, parameter: nn.Parameter, behind: set[str]) -> Weight:
        """A weight outside the layers; ``behind`` is what is executed after these."""
        module = self.modules[_module(name)]
        role = Role.DENSE
        if parameter.ndim == 2 and isinstance(module, nn.Embedding):
            role = Role.EMBEDDING
        elif parameter.ndim == 2 and isinstance(module, nn.Linear):
            role = Role.LINEAR
        names = {size: axis for axis, size in self.sizes.items() if size}
        axes = [names.get(size, "") for size in parameter.shape]
        if role is Role.EMBEDDING:
            # Rows may be as many as the width by chance.
            is_wide = parameter.shape[1] == self.sizes[WIDTH]
            axes = ["" if axes[0] == WIDTH else axes[0], WIDTH if is_wide else ""]
        reads = self._reads(parameter, behind)
        return Weight(name, tuple(parameter.shape), role, tuple(axes), reads)

    def _reads(self, parameter: nn.Parameter, behind: set[str]) -> Reads:
        """What a weight outside the layers is multiplied with."""
        users = [name for name in self.rows if self.modules[name].weight is parameter]
        if not users:
            return Reads.NOTHING
        if len(users) > 1:
            raise UnfitError(f"{users[0]} and {users[1]} are the same matrix")
        rows = self.rows[users[0]]
        if rows == 1:
            return Reads.SEQUENCE
        if rows == self.tokens:
            return Reads.OUTPUTS if users[0] in behind else Reads.TOKENS
        if isinstance(self.modules[users[0]], nn.Conv2d) and rows < self.tokens:
            return Reads.PATCHES
        raise UnfitError(f"{users[0]} is applied to {rows} of {self.tokens} tokens")

    def _logits_from(self) -> str:
        *_, last = (event.name for event in self.events if isinstance(event, Product))
        if f"{last}.weight" in self.parameters:
            return last
        # A tied matrix has the name of the embedding.
        *_, norm = (event.name for event in self.events if isinstance(event, Normalisation))
        return norm


def _axes_of_linears(layer: ExecutedLayer) -> dict[str, tuple[str, str]]:
    """What rows and columns of a layer's linear layers are, in the order of their execution."""
    axes: dict[str, tuple[str, str]] = {}
    for block in layer.attentions:
        query, *keys_and_values = block.inputs
        axes[query] = (ATTENTION, WIDTH)
        axes |= {name: (KEY_VALUE, WIDTH) for name in keys_and_values}
        axes[block.output] = (WIDTH, ATTENTION)
    axes |= {name: (NEURONS, WIDTH) for name in layer.feed_forward.inputs}
    axes[layer.feed_forward.output] = (WIDTH, NEURONS)
    return axes


def _module(weight: str) -> str:
    """Name of the module that a weight belongs to."""
    return weight.rpartition(".")[0]
