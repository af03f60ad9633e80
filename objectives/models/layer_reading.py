"""The parts of a Transformer layer, which the order of its executed linear layers shows.

The linear layers before an attention give its queries, keys and values; the next one writes its
output; those behind the last attention of a layer are the feed-forward block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from objectives.models.forward_trace import Attention, Event, Normalisation, Product
from spaces.cost.layout import Block

Modules = dict[str, nn.Module]


class UnfitError(Exception):
    """Why a model has no layout."""


@dataclass(frozen=True, slots=True)
class ExecutedLayer:
    """The parts of a layer, with names relative to it; see ``spaces.cost.layout.Stack``."""

    attentions: tuple[Block, ...]
    feed_forward: Block
    heads: int
    key_value_heads: int
    head_width: int
    neurons: int


def read_layers(events: list[Event], modules: Modules) -> Iterator[tuple[str, ExecutedLayer]]:
    """The list of modules that it is in, and the parts, of each layer that has an attention.

    Args:
        events: Of the forward pass of a whole model.
        modules: Those of the model, by name.

    Raises:
        UnfitError: A layer has other parts than a Transformer's.
    """
    place: tuple[str, str] | None = None

    def place_of(event: Event) -> tuple[str, str] | None:
        nonlocal place
        # An attention belongs to the layer that was executed last.
        if not isinstance(event, Attention):
            prefix = _outermost_list(event.name, modules)
            rest = event.name.removeprefix(f"{prefix}.")
            place = None if prefix is None else (prefix, rest.partition(".")[0])
        return place

    for located, group in groupby(events, key=place_of):
        executed = list(group)
        if located is not None and any(isinstance(event, Attention) for event in executed):
            prefix, index = located
            yield prefix, _read_layer(f"{prefix}.{index}.", executed, modules)


def _outermost_list(name: str, modules: Modules) -> str | None:
    parts = name.split(".")
    paths = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next((path for path in paths if isinstance(modules[path], nn.ModuleList)), None)


def _read_layer(prefix: str, events: list[Event], modules: Modules) -> ExecutedLayer:
    """The parts of the layer whose modules have names with a prefix."""
    attentions = [event for event in events if isinstance(event, Attention)]
    segments = _between_attentions(events)
    # The first linear layer behind an attention writes its output.
    outputs = [_linears(segment)[:1] for segment in segments[1:]]
    readers = [segments[0], *(_behind_first_linear(segment) for segment in segments[1:])]
    *feed_forward, last = [name.removeprefix(prefix) for name in _linears(readers.pop())] or [""]
    if not all(outputs) or not feed_forward:
        raise UnfitError(f"{prefix[:-1]} has no feed-forward block behind its attention")
    projections = [
        _projections(reader, attention, modules)
        for reader, attention in zip(readers, attentions, strict=True)
    ]
    if len({(each.heads, each.head_width) for each in attentions}) > 1 or len({*projections}) > 1:
        raise UnfitError(f"the attentions of {prefix[:-1]} have different heads")
    fused, key_value_heads = projections[0]
    neurons = _linear(prefix + last, modules).in_features
    rows = {_linear(prefix + name, modules).out_features for name in feed_forward}
    if len(rows) > 1 or max(rows) % neurons:
        raise UnfitError(f"the feed-forward block of {prefix[:-1]} is deeper than two matrices")
    return ExecutedLayer(
        attentions=tuple(
            Block(
                tuple(name.removeprefix(prefix) for name in _linears(reader)),
                output.removeprefix(prefix),
                fused,
            )
            for reader, (output,) in zip(readers, outputs, strict=True)
        ),
        feed_forward=Block(tuple(feed_forward), last, max(rows) // neurons),
        heads=attentions[0].heads,
        key_value_heads=key_value_heads,
        head_width=attentions[0].head_width,
        neurons=neurons,
    )


def _between_attentions(events: list[Event]) -> list[list[Event]]:
    segments: list[list[Event]] = [[]]
    for event in events:
        if isinstance(event, Attention):
            segments.append([])
        else:
            segments[-1].append(event)
    return segments


def _linears(events: list[Event]) -> list[str]:
    """Names of the linear layers among events."""
    return [event.name for event in events if isinstance(event, Product)]


def _behind_first_linear(events: list[Event]) -> list[Event]:
    is_linear = [isinstance(event, Product) for event in events]
    return events[is_linear.index(True) + 1 :] if any(is_linear) else []


def _projections(events: list[Event], attention: Attention, modules: Modules) -> tuple[int, int]:
    """Matrices in each linear layer that an attention reads, and its key-value heads.

    Args:
        events: Before the attention, what belongs to another one apart.
    """
    channels = attention.heads * attention.head_width
    names = _linears(events)
    rows = [_linear(name, modules).out_features for name in names]
    for event in _behind_first_linear(events):
        if isinstance(event, Normalisation):
            count = sum(parameter.numel() for parameter in modules[event.name].parameters())
            if count % attention.head_width or count > 2 * attention.head_width:
                raise UnfitError(f"{event.name} normalises all heads of a layer together")
    if len(rows) == 1 and rows[0] == 3 * channels:
        # Otherwise query, key and value of each head are neighbours.
        if attention.heads > 1 and attention.value_offset != 2 * channels:
            raise UnfitError(f"{names[0]} does not hold queries, keys and values one below another")
        return 3, attention.heads
    if len(rows) == 3 and rows[0] == channels and rows[1] == rows[2] and channels % rows[1] == 0:
        return 1, rows[1] // attention.head_width
    raise UnfitError(
        f"an attention reads {' and '.join(names) or 'no linear layer'}, not a matrix each for "
        "queries, keys and values"
    )


def _linear(name: str, modules: Modules) -> nn.Linear:
    module = modules[name]
    if not isinstance(module, nn.Linear):
        raise UnfitError(f"{name} is no linear layer")
    return module
