"""The linear layer of static int8, run by torch's eager int8 kernel."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from objectives.compression.quantise.weights import QuantisedWeight, StaticInt8Weight, dequantise

MAX_CODE = 255
"""Largest unsigned activation code."""


class StaticInt8Linear(nn.Module):
    """A linear layer that quantises its input and multiplies in int8.

    Args:
        static: Weight and input range.
        bias: fp32, ``(outputs,)``, or None.
    """

    def __init__(self, static: StaticInt8Weight, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.static = static
        self.bias = bias
        self._packed: Any = None
        if has_int8_kernel():
            self._packed = _prepack(static.weight, bias)
        else:
            # Without VNNI the kernel's 16-bit sums saturate: the same arithmetic in fp32 is exact.
            self._weight = dequantise(static.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply to ``(..., inputs)``; returns fp32 ``(..., outputs)``."""
        static = self.static
        if static.smoothing is not None:
            inputs = inputs / static.smoothing
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
