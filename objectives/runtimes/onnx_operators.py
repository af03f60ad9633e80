"""Weights as the inputs of ONNX operators, in the form in which they are stored.

A weight is read in three ways: as the matrix of a linear layer, as a table of embeddings, and as a
plain tensor. Where there is an operator that reads the stored form, it does; elsewhere further
operators compute the dense fp32 matrix of constants, which ONNX Runtime does once, when it loads
the model: then the file is small, and memory and time are those of fp32.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir import tensor_adapters

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    StaticInt8Weight,
    StoredWeight,
)
from objectives.runtimes.block_codes import in_blocks

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
STATIC_ZERO = 128
"""Code of an unsigned weight of zero. With signed ones, ONNX Runtime's sums saturate silently on
x86 CPUs without VNNI; its kernel for unsigned weights is exact on all CPUs."""
EXACT, INT8_ACTIVATIONS = 0, 4
"""Levels of accuracy of ``MatMulNBits``."""


class Constants(ir.tape.Tape):
    """Tensors of a graph, and operators whose inputs are all constants."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[tuple[torch.dtype, tuple[float, ...]], ir.Value] = {}
        self._ranges: dict[tuple[ir.Value, float, int], list[ir.Value]] = {}

    def tensor(self, name: str, tensor: torch.Tensor) -> ir.Value:
        """Store a tensor."""
        return self.initializer(tensor_adapters.TorchTensor(tensor.detach().contiguous(), name))

    def vector(self, *values: float, dtype: torch.dtype = torch.int64) -> ir.Value:
        """A short vector, which is stored once."""
        key = dtype, values
        if key not in self._shared:
            name = f"constant{len(self._shared)}"
            self._shared[key] = self.tensor(name, torch.tensor(values, dtype=dtype))
        return self._shared[key]

    def input_range(self, inputs: ir.Value, scale: float, zero: int) -> list[ir.Value]:
        """Scale and zero of the codes of inputs: those that several layers read are stored once, so
        that they are quantised once."""
        key = inputs, scale, zero
        if key not in self._ranges:
            name = f"range{len(self._ranges)}"
            self._ranges[key] = [
                self.tensor(f"{name}.scale", torch.tensor(scale)),
                self.tensor(f"{name}.zero", torch.tensor(zero, dtype=torch.uint8)),
            ]
        return self._ranges[key]


class Operators:
    """Operators that read one weight.

    Args:
        name: Of the weight; its tensors are named after it.
    """

    def __init__(self, name: str, constants: Constants) -> None:
        self.name = name
        self.constants = constants

    @cached_property
    def value(self) -> ir.Value:
        """The dense fp32 tensor."""
        raise NotImplementedError

    def linear(self, tape: ir.tape.Tape, inputs: ir.Value) -> ir.Value | None:
        """The product of inputs ``(..., columns)`` with the transposed matrix; None where only a
        dense product will do."""
        return None

    def gather(self, tape: ir.tape.Tape, rows: ir.Value) -> ir.Value | None:
        """Rows of the matrix; None where only its dense form will do."""
        return None

    def _tensor(self, suffix: str, tensor: torch.Tensor) -> ir.Value:
        """Store a tensor under the name of the weight."""
        return self.constants.tensor(self.name + suffix, tensor)

    def _op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """An operator of constants."""
        return self.constants.op(kind, inputs, attributes)

    def _as_float(self, value: ir.Value) -> ir.Value:
        return self._op("Cast", value, to=ir.DataType.FLOAT)


class FloatOperators(Operators):
    """Of a floating-point weight, which is stored as it is."""

    def __init__(self, name: str, constants: Constants, weight: torch.Tensor) -> None:
        super().__init__(name, constants)
        self._weight = weight

    @cached_property
    def value(self) -> ir.Value:
        """As ``Operators``. The CPU has no kernels for half precision: ONNX Runtime would convert
        inputs and outputs of each operator, and compute in fp32 too."""
        stored = self._tensor("", self._weight)
        return stored if self._weight.dtype == torch.float32 else self._as_float(stored)


class CodeOperators(Operators):
    """Of weight-only codes.

    Linear layers of four bits are ``MatMulNBits``, which multiplies in fp32 with unpacked blocks.
    With eight bits, and with two, it takes two to five times as long as fp32: these are unpacked
    when the model is loaded. Embeddings of all widths are ``GatherBlockQuantized``.

    Args:
        accuracy: Of ``MatMulNBits``. ``INT8_ACTIVATIONS`` rounds inputs to eight bits too, which
            other logits follow from; it is fast with eight bits.
    """

    def __init__(
        self, name: str, constants: Constants, weight: QuantisedWeight, accuracy: int
    ) -> None:
        super().__init__(name, constants)
        self._codes = in_blocks(weight)
        self._accuracy = accuracy

    @cached_property
    def value(self) -> ir.Value:
        """As ``Operators``."""
        codes, vector = self._codes, self.constants.vector
        unpacked = self._data
        if codes.blocks.bits < 8:
            shifts = vector(*range(0, 8, codes.blocks.bits), dtype=torch.uint8)
            parts = self._op("Unsqueeze", self._data, vector(-1))
            parts = self._op("BitShift", parts, shifts, direction="RIGHT")
            mask = vector(2 * codes.half - 1, dtype=torch.uint8)
            unpacked = self._op("BitwiseAnd", parts, mask)
        unsigned = self._as_float(self._op("Reshape", unpacked, vector(0, -1, codes.blocks.size)))
        signed = self._op("Sub", unsigned, vector(codes.half, dtype=torch.float32))
        if self._zeros is not None:
            signed = self._op("Sub", signed, self._by_block(self._zeros))
        weight = self._op("Mul", signed, self._by_block(self._scales))
        return self._without_filling(self._op("Reshape", weight, vector(0, -1)), codes.columns)

    def linear(self, tape: ir.tape.Tape, inputs: ir.Value) -> ir.Value | None:
        """As ``Operators``; of codes with zeros, ``inputs @ (codes * scales).T`` less the sum of
        each block of the inputs, multiplied with zeros and scales."""
        codes, vector = self._codes, self.constants.vector
        blocks = codes.blocks
        is_exact = self._accuracy == EXACT
        rank = None if inputs.shape is None else len(inputs.shape)
        if not blocks.has_kernels or rank is None or (is_exact and blocks.bits != 4):
            return None
        product = tape.op(
            "MatMulNBits",
            [inputs, self._data, self._scales],
            {
                "K": codes.columns,
                "N": len(codes.data),
                "bits": blocks.bits,
                "block_size": blocks.size,
                "accuracy_level": self._accuracy,
            },
            domain=MICROSOFT,
        )
        if self._zeros is None:
            return product
        missing = blocks.number * blocks.size - codes.columns
        if missing:
            inputs = tape.op("Pad", [inputs, vector(*[0] * (2 * rank - 1), missing)])
        shape = vector(*[0] * (rank - 1), blocks.number, blocks.size)
        grouped = tape.op("Reshape", [inputs, shape])
        sums = tape.op("ReduceSum", [grouped, vector(-1)], {"keepdims": 0})
        return tape.op("Sub", [product, tape.op("MatMul", [sums, self._offsets])])

    def gather(self, tape: ir.tape.Tape, rows: ir.Value) -> ir.Value | None:
        """As ``Operators``."""
        codes = self._codes
        if not codes.blocks.has_kernels or codes.zeros is not None:
            return None
        attributes = {
            "bits": codes.blocks.bits, "block_size": codes.blocks.size,
            "gather_axis": 0, "quantize_axis": 1,
        }  # fmt: skip
        return tape.op(
            "GatherBlockQuantized", [self._table, rows, self._scales], attributes, domain=MICROSOFT
        )

    @cached_property
    def _data(self) -> ir.Value:
        return self._tensor(".codes", self._codes.data)

    @cached_property
    def _table(self) -> ir.Value:
        """Codes as ``GatherBlockQuantized`` reads them, ``(rows, columns * bits / 8)``."""
        flat = self._op("Reshape", self._data, self.constants.vector(0, -1))
        return self._without_filling(flat, self._codes.columns * self._codes.blocks.bits // 8)

    @cached_property
    def _scales(self) -> ir.Value:
        return self._as_float(self._tensor(".scales", self._codes.scales))

    @cached_property
    def _zeros(self) -> ir.Value | None:
        zeros = self._codes.zeros
        return None if zeros is None else self._as_float(self._tensor(".zeros", zeros))

    @cached_property
    def _offsets(self) -> ir.Value:
        """What a block of ones is too large by, ``(blocks, rows)``."""
        assert self._zeros is not None
        return self._op("Transpose", self._op("Mul", self._zeros, self._scales), perm=[1, 0])

    def _by_block(self, value: ir.Value) -> ir.Value:
        return self._op("Unsqueeze", value, self.constants.vector(-1))

    def _without_filling(self, matrix: ir.Value, columns: int) -> ir.Value:
        """The first columns of a matrix of constants."""
        codes = self._codes
        if codes.columns == codes.blocks.number * codes.blocks.size:
            return matrix
        vector = self.constants.vector
        return self._op("Slice", matrix, vector(0), vector(columns), vector(1))


class StaticOperators(Operators):
    """Of the int8 weight of a linear layer whose inputs are quantised too: QuantizeLinear and
    DequantizeLinear around a product (QDQ), which runtimes fuse into an int8 kernel."""

    def __init__(self, name: str, constants: Constants, weight: StaticInt8Weight) -> None:
        super().__init__(name, constants)
        self._static = weight

    @cached_property
    def value(self) -> ir.Value:
        """As ``Operators``."""
        return self._op("Transpose", self._transposed, perm=[1, 0])

    def linear(self, tape: ir.tape.Tape, inputs: ir.Value) -> ir.Value:
        """As ``Operators``."""
        static = self._static
        if static.smoothing is not None:
            smoothing = self._tensor(".smoothing", static.smoothing)
            inputs = tape.op("Div", [inputs, smoothing])
        ranges = self.constants.input_range(inputs, static.input_scale, static.input_zero_point)
        codes = tape.op("QuantizeLinear", [inputs, *ranges])
        rounded = tape.op("DequantizeLinear", [codes, *ranges])
        return tape.op("MatMul", [rounded, self._transposed])

    @cached_property
    def _transposed(self) -> ir.Value:
        weight = self._static.weight
        codes = (weight.codes.int() + STATIC_ZERO).to(torch.uint8)
        zeros = torch.full((len(codes),), STATIC_ZERO, dtype=torch.uint8)
        inputs = [
            self._tensor(".codes", codes.T),
            self._tensor(".scales", weight.scales[:, 0].float()),
            self._tensor(".zeros", zeros),
        ]
        return self._op("DequantizeLinear", *inputs, axis=1)


def operators_of(
    name: str, constants: Constants, weight: StoredWeight, accuracy: int = EXACT
) -> Operators:
    """The operators of a stored weight."""
    if isinstance(weight, StaticInt8Weight):
        return StaticOperators(name, constants, weight)
    if isinstance(weight, QuantisedWeight):
        return CodeOperators(name, constants, weight, accuracy)
    return FloatOperators(name, constants, weight)
