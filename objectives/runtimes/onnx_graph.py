"""The ONNX graph of a model without its weights, which are inputs of the graph.

It is the same for every compression of a shape. The exporter takes seconds; what it gives is small.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn

from objectives.data.batches import Batch
from objectives.models.build import build
from objectives.models.forward import PositionalLogits
from spaces.cost.architecture import Shape
from spaces.cost.families import layout
from spaces.cost.layout import Layout
from spaces.cost.workload import Workload

LOGITS = "logits"

DYNAMIC_AXES: dict[str, dict[int, str]] = {
    "input_ids": {0: "batch", 1: "sequence"},
    "attention_mask": {0: "batch", 1: "sequence"},
    "token_type_ids": {0: "batch", 1: "sequence"},
    "decoder_input_ids": {0: "batch", 1: "target_sequence"},
    "pixel_values": {0: "batch"},
    "input_features": {0: "batch"},
    "input_values": {0: "batch"},
}
"""Axes of any length."""


def graph_of_shape(shape: Shape, workload: Workload, inputs: Batch) -> bytes:
    """The graph of the models of a shape, as of ``graph_without_weights``."""
    model = build(shape, workload).eval()
    return graph_without_weights(model, layout(shape, workload), inputs)


def graph_without_weights(model: nn.Module, described: Layout, inputs: Batch) -> bytes:
    """The graph of a model as a serialised ONNX model.

    Args:
        model: With linear layers of torch, in evaluation mode.
        described: Its weights, which become inputs of the graph under their names; a tied matrix
            is one.
        inputs: Arguments of its forward pass, two or more of a batch, to trace with.
    """
    axes = (tuple(DYNAMIC_AXES[name] for name in inputs),)
    wrapped = PositionalLogits(model, inputs)
    return exported_graph(wrapped, described, inputs, axes=axes, outputs=[LOGITS])


def exported_graph(
    wrapped: nn.Module,
    described: Layout,
    inputs: Batch,
    *,
    axes: tuple[Any, ...],
    outputs: list[str],
) -> bytes:
    """The graph of a module that calls its attribute ``model``, as of ``graph_without_weights``.

    Args:
        wrapped: Takes the inputs by position.
        described: Weights of its model.
        inputs: Tensors to trace with, by the names of the graph's inputs.
        axes: Axes of any length of its arguments, as ``torch.onnx.export`` takes them.
        outputs: Names of its outputs.
    """
    with _without_warnings():
        program = torch.onnx.export(
            wrapped.eval(),
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=axes,
            input_names=list(inputs),
            output_names=outputs,
            verbose=False,
            # Constants that are made of weights would be those of one model.
            optimize=False,
        )
    assert program is not None
    exported, model = program.model, wrapped.model
    assert isinstance(model, nn.Module)
    _open_weights(exported.graph, model, {weight.name for weight in described.weights()})
    optimizer.optimize(exported)
    for node in exported.graph.all_nodes():
        # Stack traces with paths of this machine, larger than small models.
        node.metadata_props.clear()
    serialised: bytes = ir.to_proto(exported).SerializeToString()
    return serialised


def _open_weights(graph: ir.Graph, model: nn.Module, names: set[str]) -> None:
    """Make inputs of a graph of the parameters of a model that have these names."""
    parameters = list(model.named_parameters(remove_duplicate=False))
    layout_names = {id(parameter): name for name, parameter in parameters if name in names}
    for alias, parameter in parameters:
        # What is exported has the model as its attribute ``model``.
        value = graph.initializers.get(f"model.{alias}")
        if value is None or id(parameter) not in layout_names:
            continue
        del graph.initializers[f"model.{alias}"]
        value.name = layout_names[id(parameter)]
        value.const_value = None
        graph.inputs.append(value)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide what the exporter says about packages that are not needed here."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(before)
