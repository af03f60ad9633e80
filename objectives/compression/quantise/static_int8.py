"""Static int8: weights and activations in eight bits, calibrated by neural-compressor (PT2E).

Its converted graph needs ``torch.compile`` to be fast, tens of seconds a model. Only the ranges are
taken from its observers, and ``StaticInt8Linear`` runs them by torch's eager int8 kernel.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    dequantise,
    import_neural_compressor,
)
from objectives.data.batches import Batch, forward_arguments, on_device
from objectives.device import CPU, device_of
from objectives.failures import TrialFailure
from objectives.models.forward import PositionalLogits, layer_heartbeats, linear_layers
from objectives.store import heartbeat

MAX_CODE = 255
"""Largest unsigned activation code."""
LEAST_SCALE = torch.finfo(torch.float32).eps
"""Of a row of weights."""


class StaticInt8Linear(nn.Module):
    """A linear layer with an fp32 bias that quantises its input and multiplies in int8.

    Args:
        device: Where it is to compute.
    """

    bias: torch.Tensor | None
    _smoothing: torch.Tensor | None
    _weight: torch.Tensor

    def __init__(
        self, static: StaticInt8Weight, bias: torch.Tensor | None, device: torch.device = CPU
    ) -> None:
        super().__init__()
        self.static = static
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)
        self.register_buffer("_smoothing", static.smoothing, persistent=False)
        self._packed: Any = None
        if device == CPU and has_int8_kernel():
            self._packed = _prepack(static.weight, bias)
        else:
            # Without VNNI the kernel's 16-bit sums saturate: the same arithmetic in fp32 is exact.
            self.register_buffer("_weight", dequantise(static.weight), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply to ``(..., inputs)``; returns fp32 ``(..., outputs)``."""
        static = self.static
        if self._smoothing is not None:
            inputs = inputs / self._smoothing
        if self._packed is not None:
            outputs: torch.Tensor = (
                torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                    inputs, static.input_scale, static.input_zero_point, self._packed
                )
            )
            return outputs
        rounded = torch.fake_quantize_per_tensor_affine(
            inputs, static.input_scale, static.input_zero_point, 0, MAX_CODE
        )
        return nn.functional.linear(rounded, self._weight, self.bias)


def on_cpu(model: nn.Module, batches: list[Batch]) -> tuple[nn.Module, list[Batch]]:
    """A model and its batches on the CPU; copies where they are elsewhere."""
    if device_of(model) != CPU:
        model = copy.deepcopy(model).cpu()
    return model, [*on_device(batches, model)]


def has_int8_kernel() -> bool:
    """Whether this CPU has an int8 kernel that is exact and fast."""
    return (
        bool(torch.cpu._is_vnni_supported()) and "x86" in torch.backends.quantized.supported_engines
    )


def _prepack(weight: QuantisedWeight, bias: torch.Tensor | None) -> Any:
    torch.backends.quantized.engine = "x86"
    rows = weight.codes.shape[0]
    # torch deprecates these tensors; the pinned version has them.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        quantised = torch._make_per_channel_quantized_tensor(
            weight.codes, weight.scales[:, 0].double(), torch.zeros(rows, dtype=torch.long), 0
        )
    return torch.ops.quantized.linear_prepack(quantised, bias)


def row_scales(weight: torch.Tensor) -> torch.Tensor:
    """The scale of each row, ``(rows, 1)``, as neural-compressor's observer finds it."""
    return (weight.abs().amax(1, keepdim=True) / 127.5).clamp_min(LEAST_SCALE)


def quantise(
    model: nn.Module, names: list[str], batches: list[Batch], **_: int
) -> dict[str, StaticInt8Weight]:
    """Quantise linear layers, with the input ranges that calibration batches show.

    On the CPU, for whose kernels the graph is made.

    Raises:
        TrialFailure: A linear layer has no range in the graph (``compression_error``).
    """
    model, batches = on_cpu(model, batches)
    try:
        found = _ranges(_observed(model, batches), model)
    finally:
        _forget_graphs()
    missing = linear_layers(model).keys() - found.keys()
    if missing:
        raise TrialFailure("compression_error", f"no range was found for {min(missing)}")
    return {name: found[name.removesuffix(".weight")] for name in names}


def _observed(model: nn.Module, batches: list[Batch]) -> Any:
    """The graph of a model with observers, which have seen the batches.

    It is not converted, which would take half as long again: the ranges are known before.
    """
    import_neural_compressor()
    from neural_compressor.torch.quantization import get_default_static_config, prepare

    inputs = [forward_arguments(batch) for batch in batches]
    function = PositionalLogits(model, inputs[0]).eval()
    heartbeat.beat("calibrating")
    graph = prepare(exported(function, tuple(inputs[0].values())), get_default_static_config())
    with torch.no_grad(), layer_heartbeats(graph):
        for arguments in inputs:
            heartbeat.beat("calibrating")
            graph(*arguments.values())
    return graph


def _forget_graphs() -> None:
    """Free the graphs of a conversion, which hold copies of the model: torch and torchao keep the
    last hundred as keys of their caches."""
    from torch.ao.quantization.fx.utils import assert_and_get_unique_device
    from torchao.utils import _assert_and_get_unique_device

    assert_and_get_unique_device.cache_clear()
    _assert_and_get_unique_device.cache_clear()


def exported(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    """The graph of a model, as neural-compressor's ``prepare`` takes it.

    Not by neural-compressor's ``export``, which runs TorchDynamo (``strict=True``): three times as
    long for the same ranges.
    """
    with torch.no_grad():
        graph: Any = torch.export.export(model, inputs, strict=False).module()
    graph._exported, graph.dynamic_shapes = True, None
    return graph


def _ranges(graph: Any, model: nn.Module) -> dict[str, StaticInt8Weight]:
    """Scales and zero points that the observers of a graph found, by layer."""
    found: dict[str, StaticInt8Weight] = {}
    for node in graph.graph.nodes:
        if node.target is not torch.ops.aten.linear.default:
            continue
        inputs, weight = (_observer(graph, each) for each in node.args[:2])
        if inputs is None or weight is None:
            continue
        path, _ = list(node.meta["nn_module_stack"].values())[-1]
        name = str(path).removeprefix("model.")
        scale, zero_point = inputs.calculate_qparams()
        scales = weight.calculate_qparams()[0].float()
        matrix = model.get_parameter(f"{name}.weight").detach()
        codes = torch.round(matrix / scales[:, None]).clamp(-127, 127).to(torch.int8)
        found[name] = StaticInt8Weight(
            weight=QuantisedWeight(codes, scales[:, None], 8, matrix.shape[1]),
            input_scale=float(scale),
            input_zero_point=int(zero_point),
        )
    return found


def _observer(graph: Any, node: Any) -> Any:
    """The observer that a tensor of a graph passes through; None without one."""
    if node.op != "call_module":
        return None
    module = graph.get_submodule(node.target)
    return module if hasattr(module, "calculate_qparams") else None
