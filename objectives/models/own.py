"""The models of a user's own task: built by its class, laid out as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.models.forward_trace import with_linear_layers
from objectives.models.layout import traced_layout
from spaces.cost.architecture import Architecture, Shape
from spaces.cost.families import layout
from spaces.cost.layout import WIDTH, Layout
from spaces.cost.own_model import own_model_of
from spaces.cost.workload import Workload
from spaces.errors import UserError

Factory = Callable[[Architecture], nn.Module]
"""Makes an untrained model."""

PROBES = ((2, 64, 160), (3, 96, 288), (2, 160, 352))
"""Depth, width and feed-forward neurons of the models that a layout is read from."""

_factories: dict[str, Factory] = {}
"""By ``Workload.own``. A description alone makes no model: it would run the code that a file
names, and not what the user named."""


class OwnModelError(UserError):
    """The model of a user's own task cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(f"task.name: model() {message}")


def register(description: str, factory: Factory) -> None:
    """Let ``build`` make the models of a description in this process."""
    _factories[description] = factory


def build_own(shape: Shape, workload: Workload) -> nn.Module:
    """An untrained model with the depth and neurons of a shape, and all heads.

    Raises:
        OwnModelError: Its task was not opened in this process, or it is another model than the one
            that was laid out.
    """
    factory = _factories.get(workload.own)
    if factory is None:
        name = own_model_of(workload.own).task
        raise OwnModelError(f"of {name} is not known here: open its search first")
    architecture = Architecture(
        shape.depth,
        shape.width,
        shape.width // shape.head_width,
        shape.feed_forward,
        shape.decoder_depth,
        activation=shape.activation,
    )
    model = with_linear_layers(_transformer(factory(architecture)))
    _check_laid_out(model, layout(architecture.shape, workload), architecture)
    return model


def read_own_layout(
    name: str, factory: Factory, inputs: Mapping[str, torch.Tensor] | None = None
) -> Layout:
    """The layout of the models of a task, from small ones on the meta device.

    That of each probe has to follow from that of another one: this tells a size that equals the
    width by chance from one that follows it.

    Args:
        name: Of the task, for messages.
        inputs: Those of one sequence on the meta device, where they are no tokens and no image.

    Raises:
        OwnModelError, UnknownArchitectureError: They are no Transformers, or their weights do not
            follow the sizes of the architecture.
    """
    probes = [
        Architecture.of(depth, width, feed_forward=neurons, decoder_depth=depth)
        for depth, width, neurons in PROBES
    ]
    layouts = [_read(name, factory, probe, inputs) for probe in probes]
    differing = ""
    for template in layouts:
        differences = (
            _difference(_resized(template, probe), found)
            for probe, found in zip(probes, layouts, strict=True)
        )
        found = next(filter(None, differences), "")
        if not found:
            return template
        differing = differing or found
    raise OwnModelError(
        f"has weights that do not follow width, depth, heads and feed_forward alone: {differing}"
    )


def _read(
    name: str,
    factory: Factory,
    architecture: Architecture,
    inputs: Mapping[str, torch.Tensor] | None,
) -> Layout:
    with torch.device("meta"):
        model = with_linear_layers(_transformer(factory(architecture)).eval())
    found = traced_layout(f"task.name: the model of {name}", lambda: model, inputs=inputs)
    stack = found.stacks[0]
    asked = {
        "depth": (architecture.depth, stack.depth),
        "width": (architecture.width, found.sizes[WIDTH]),
        "heads": (architecture.heads, stack.heads),
        "feed_forward": (architecture.feed_forward, stack.neurons),
    }
    for field, (wanted, made) in asked.items():
        if wanted != made:
            raise OwnModelError(
                f"made a model of {field} {made} where architecture.{field} is {wanted}"
            )
    if stack.group > 1:
        raise OwnModelError(
            f"made {stack.key_value_heads} key-value heads for {stack.heads} heads; allowed is one "
            "for each head"
        )
    return found


def _transformer(model: object) -> nn.Module:
    if not isinstance(model, PreTrainedModel):
        raise OwnModelError(
            f"returned {type(model).__name__}; allowed is a PreTrainedModel of transformers, or a "
            "subclass of it"
        )
    made: nn.Module = model
    return made


def _resized(template: Layout, architecture: Architecture) -> Layout:
    shape = architecture.shape
    return template.resized(
        depths=(shape.depth, shape.decoder_depth),
        heads=shape.heads,
        head_width=shape.head_width,
        neurons=shape.feed_forward,
        **{WIDTH: shape.width},
    )


def _difference(expected: Layout, found: Layout) -> str:
    """The first weight in which two layouts differ; empty where they are equal."""
    ours, theirs = map(dict, (_weights(expected), _weights(found)))
    for name in {**theirs, **ours}:
        if ours.get(name) != theirs.get(name):
            return f"{name} is {theirs.get(name)}, not {ours.get(name)}"
    return ""


def _weights(laid_out: Layout) -> Iterator[tuple[str, tuple[object, ...]]]:
    for weight in laid_out.weights():
        yield weight.name, (*weight.shape, weight.role.value, weight.reads.value)


def _check_laid_out(model: nn.Module, expected: Layout, architecture: Architecture) -> None:
    shapes = {name: tuple(each.shape) for name, each in model.named_parameters()}
    wanted = {weight.name: weight.shape for weight in expected.weights()}
    for name in {**wanted, **shapes}:
        if shapes.get(name) != wanted.get(name):
            raise OwnModelError(
                f"made other weights for {architecture} than for small models: {name} is "
                f"{shapes.get(name)}, not {wanted.get(name)}"
            )
