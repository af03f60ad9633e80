"""Static int8: weights and activations in eight bits, calibrated by neural-compressor (PT2E).

Its converted graph needs ``torch.compile`` to be fast, tens of seconds a model. Only the ranges are
taken from the graph, and ``StaticInt8Linear`` runs them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    quiet_neural_compressor,
)
from objectives.data.batches import Batch, forward_arguments
from objectives.failures import TrialFailure
from objectives.models.forward import PositionalLogits, linear_layers


def quantise(
    model: nn.Module, names: list[str], batches: list[Batch], **_: int
) -> dict[str, StaticInt8Weight]:
    """Quantise linear layers, with the input ranges that calibration batches show.

    Raises:
        TrialFailure: A linear layer has no range in the converted graph (``compression_error``).
    """
    found = _ranges(_converted(model, batches), model)
    missing = linear_layers(model).keys() - found.keys()
    if missing:
        raise TrialFailure("compression_error", f"no range was found for {min(missing)}")
    return {name: found[name.removesuffix(".weight")] for name in names}


def _converted(model: nn.Module, batches: list[Batch]) -> Any:
    """The quantised graph of a model."""
    quiet_neural_compressor()
    from neural_compressor.torch.export import export
    from neural_compressor.torch.quantization import (
        convert,
        get_default_static_config,
        prepare,
    )

    inputs = [forward_arguments(batch) for batch in batches]
    function = PositionalLogits(model, inputs[0]).eval()
    graph = prepare(
        export(function, example_inputs=tuple(inputs[0].values())), get_default_static_config()
    )
    with torch.no_grad():
        for arguments in inputs:
            graph(*arguments.values())
    return convert(graph)


def _ranges(graph: Any, model: nn.Module) -> dict[str, StaticInt8Weight]:
    """Scales and zero points of a converted graph, by layer."""
    found: dict[str, StaticInt8Weight] = {}
    for node in graph.graph.nodes:
        if node.target is not torch.ops.aten.linear.default:
            continue
        activation, weight = node.args[0], node.args[1]
        if "dequantize_per_tensor" not in str(activation.target):
            continue
        path, _ = list(node.meta["nn_module_stack"].values())[-1]
        name = str(path).removeprefix("model.")
        scales = getattr(graph, weight.args[1].target).float()
        matrix = model.get_parameter(f"{name}.weight").detach()
        codes = torch.round(matrix / scales[:, None]).clamp(-127, 127).to(torch.int8)
        found[name] = StaticInt8Weight(
            weight=QuantisedWeight(codes, scales[:, None], 8, matrix.shape[1]),
            input_scale=float(activation.args[1]),
            input_zero_point=int(activation.args[2]),
        )
    return found
