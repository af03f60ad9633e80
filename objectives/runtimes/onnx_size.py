"""Bytes of the ONNX file of a compressed model, before training."""

from __future__ import annotations

import onnx_ir as ir
import torch

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    StoredWeight,
)
from objectives.runtimes.onnx_file import with_weights
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.layout import Layout, Role, Weight

MOST_BITS = 8
"""Of a matrix with mixed bits."""

_HALF = {Quantisation.BF16: torch.bfloat16, Quantisation.FP16: torch.float16}


def onnx_bytes(graph: bytes, pruned: Layout, compression: Compression) -> int:
    """Bytes of the file of a compressed model without metadata, whatever its weights are.

    Of mixed bits, which the trained model determines, it is the most: every matrix has eight.

    Args:
        graph: As of ``graph_without_weights``, of the pruned shape.
        pruned: Layout of what structured pruning leaves.
        compression: How its weights are quantised.
    """
    zeros = {weight.name: zeros_for(weight, compression) for weight in pruned.weights()}
    size: int = ir.to_proto(with_weights(graph, zeros)).ByteSize()
    return size


def zeros_for(weight: Weight, compression: Compression) -> StoredWeight:
    """A weight as ``model_file.read_weights`` would give it, of zeros."""
    quantisation = compression.quantisation
    is_linear = weight.role is Role.LINEAR
    has_zeros = is_linear and quantisation.method == "hqq"
    is_masked = has_zeros and compression.unstructured_sparsity > 0.0
    if weight.role is Role.DENSE or not quantisation.has_codes or is_masked:
        is_dense = weight.role is Role.DENSE
        return torch.zeros(weight.shape, dtype=None if is_dense else _HALF.get(quantisation))
    rows, columns = weight.shape
    codes = torch.zeros(weight.shape, dtype=torch.int8)
    if quantisation.is_static and is_linear:
        smoothing = torch.zeros(columns) if quantisation is Quantisation.SMOOTH_8 else None
        by_row = QuantisedWeight(codes, torch.zeros(rows, 1), 8, columns)
        return StaticInt8Weight(by_row, 1.0, 0, smoothing)
    group_size = min(compression.group_size, columns)
    scales = torch.zeros(rows, -(-columns // group_size), dtype=torch.float16)
    bits = MOST_BITS if quantisation.is_mixed else int(quantisation.bits)
    return QuantisedWeight(codes, scales, bits, group_size, scales if has_zeros else None)
