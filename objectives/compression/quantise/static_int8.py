"""Static int8: weights and activations in eight bits, computed by int8 kernels.

neural-compressor calibrates and converts (its PT2E path). Its graph needs ``torch.compile`` to be
fast, tens of seconds a model; the ranges that it found are all that is needed, and torch's eager
int8 kernel then runs them at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.rtn import QuantisedWeight, dequantise, quiet_neural_compressor
from objectives.compression.quantise.smoothing import smoothed, smoothing_factors
from objectives.data.batches import Batch, forward_arguments
from objectives.failures import TrialFailure
from objectives.models.hooks import linear_layers
from objectives.models.positional import PositionalLogits

CODES = 255
"""Largest unsigned activation code."""


@dataclass(frozen=True)
class StaticWeight:
    """A linear layer's weight and the range of its input.

    Args:
        weight: One scale a row.
        input_scale: Step between two input codes.
        input_zero_point: Code of an input of zero, 0 to 255.
        smoothing: What inputs are divided by before they are quantised, fp32, ``(columns,)``; the
            weight is that of such inputs. None for inputs as they are.
    """

    weight: QuantisedWeight
    input_scale: float
    input_zero_point: int
    smoothing: torch.Tensor | None = None


class StaticInt8Linear(nn.Module):
    """A linear layer that quantises its input and multiplies in int8.

    Args:
        static: Weight and input range.
        bias: fp32, ``(outputs,)``, or None.
    """

    def __init__(self, static: StaticWeight, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.static = static
        self.bias = bias
        self._smoothing = static.smoothing
        self._scale = static.input_scale
        self._zero_point = static.input_zero_point
        self._packed: Any = None
        if has_int8_kernel():
            self._packed = _prepack(static.weight, bias)
        else:
            # Without VNNI the kernel's 16-bit sums saturate: the same arithmetic in fp32 is exact.
            self._weight = dequantise(static.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply to ``(..., inputs)``; returns fp32 ``(..., outputs)``."""
        if self._smoothing is not None:
            inputs = inputs / self._smoothing
        if self._packed is not None:
            outputs: torch.Tensor = (
                torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                    inputs, self._scale, self._zero_point, self._packed
                )
            )
            return outputs
        rounded = torch.fake_quantize_per_tensor_affine(
            inputs, self._scale, self._zero_point, 0, CODES
        )
        return nn.functional.linear(rounded, self._weight, self.bias)


def has_int8_kernel() -> bool:
    """Whether this CPU has an int8 kernel that is exact and fast."""
    return (
        bool(torch.cpu._is_vnni_supported()) and "x86" in torch.backends.quantized.supported_engines
    )


def _prepack(weight: QuantisedWeight, bias: torch.Tensor | None) -> Any:
    torch.backends.quantized.engine = "x86"
    rows = weight.codes.shape[0]
    with warnings.catch_warnings():
        # torch announces the end of these tensors; the pinned version has them, and who loads a
        # model can do nothing about it.
        warnings.simplefilter("ignore", UserWarning)
        quantised = torch._make_per_channel_quantized_tensor(
            weight.codes, weight.scales[:, 0].double(), torch.zeros(rows, dtype=torch.long), 0
        )
    return torch.ops.quantized.linear_prepack(quantised, bias)


def calibrate(
    model: nn.Module, batches: list[Batch], *, smooth: bool = False
) -> dict[str, StaticWeight]:
    """Quantise all linear layers with ranges seen on calibration batches.

    Args:
        model: The model, in evaluation mode; it is left as it is.
        batches: Inputs, all of one shape.
        smooth: Whether to move outliers of the inputs into the weights first (``smoothing``).

    Returns:
        By the name of the linear layer. A head that is tied to an embedding is among them; the
        embedding itself is not.

    Raises:
        TrialFailure: A layer came back without a range (``compression_error``).
    """
    inputs = [forward_arguments(batch) for batch in batches]
    factors = smoothing_factors(model, inputs) if smooth else {}
    found = _calibrate(smoothed(model, factors) if smooth else model, inputs)
    missing = linear_layers(model).keys() - found.keys()
    if missing:
        raise TrialFailure("compression_error", f"no range was found for {min(missing)}")
    return {name: replace(static, smoothing=factors.get(name)) for name, static in found.items()}


def _calibrate(model: nn.Module, inputs: list[Batch]) -> dict[str, StaticWeight]:
    quiet_neural_compressor()
    from neural_compressor.torch.export import export
    from neural_compressor.torch.quantization import (
        convert,
        get_default_static_config,
        prepare,
    )

    function = PositionalLogits(model, inputs[0]).eval()
    graph = prepare(
        export(function, example_inputs=tuple(inputs[0].values())), get_default_static_config()
    )
    with torch.no_grad():
        for arguments in inputs:
            graph(*arguments.values())
    return _ranges(convert(graph), model)


def _ranges(graph: Any, model: nn.Module) -> dict[str, StaticWeight]:
    """Read scales and zero points off the converted graph."""
    found: dict[str, StaticWeight] = {}
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
        found[name] = StaticWeight(
            weight=QuantisedWeight(codes, scales[:, None], 8, matrix.shape[1]),
            input_scale=float(activation.args[1]),
            input_zero_point=int(activation.args[2]),
        )
    return found
