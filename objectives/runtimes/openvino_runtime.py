"""OpenVINO: a model is its intermediate representation, ``model.xml`` with the codes in
``model.bin``.

It does not read the operators ``GatherBlockQuantized`` of four and of two bits, and computes wrong
products of shifted codes. So weights are written in the form that it compresses them in itself:
constants of 2, 4 or 8 bits that are converted, shifted and scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops

from objectives.compression import model_file
from objectives.compression.quantise.weights import QuantisedWeight, StaticInt8Weight, StoredWeight
from objectives.data.batches import Batch
from objectives.runtimes.base import Forward
from objectives.runtimes.block_codes import in_blocks
from objectives.runtimes.onnx_runtime import Graphs, OnnxRuntime

CODES = {2: ov.Type.u2, 4: ov.Type.u4, 8: ov.Type.u8}
FILE = "model.xml"
INPUT_LEVELS = 256
"""Of the inputs of static int8 layers."""


class OpenVinoRuntime:
    """As ``Runtime``.

    Args:
        graphs: As of ``OnnxRuntime``, whose graphs it reads.
    """

    def __init__(self, graphs: Graphs | None = None) -> None:
        self._onnx = OnnxRuntime(graphs=graphs)

    def prepare(self, stored: Path, inputs: Batch, folder: Path) -> None:
        """As ``Runtime``."""
        spec = model_file.read_spec(stored)
        weights = model_file.read_weights(stored, spec)
        write_openvino(self._onnx.graph(spec.shape, spec.workload, inputs), weights, folder)

    def open(self, folder: Path, *, threads: int) -> Forward:
        """As ``Runtime``; inputs of layers are not rounded but where the compression does it.

        Its thread is not bound to a core, on which another program may run.
        """
        compiled = ov.Core().compile_model(
            folder / FILE,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_PRECISION_HINT": "f32",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            },
        )
        request = compiled.create_infer_request()

        def forward(**inputs: torch.Tensor) -> Any:
            given = {name: tensor.numpy() for name, tensor in inputs.items()}
            return request.infer(given, share_inputs=True)[0]

        return forward

    def bytes_on_disk(self, folder: Path) -> int:
        """As ``Runtime``."""
        return sum(each.stat().st_size for each in folder.glob("model.*"))


def write_openvino(graph: bytes, weights: Mapping[str, StoredWeight], folder: Path) -> None:
    """Write a model into a folder.

    Args:
        graph: As of ``graph_without_weights``.
        weights: By name, as of ``model_file.read_weights``.
    """
    model = ov.Core().read_model(graph, b"")
    _WeightWriter(model).write(weights)
    _name(model)
    ov.save_model(model, folder / FILE, compress_to_fp16=False)


def _name(model: Any) -> None:
    """Number the operators: the names that OpenVINO gives them depend on what the process made
    before, and so would the bytes of the file."""
    for number, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result"):
            node.set_friendly_name(f"n{number}")
            for output in node.outputs():
                readers = {each.get_node().get_type_name() for each in output.get_target_inputs()}
                if "Result" not in readers:
                    output.get_tensor().set_names(set())


class _WeightWriter:
    """Writes the weights of a model whose weights are inputs of its graph."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rounded: dict[tuple[Any, ...], Any] = {}

    def write(self, weights: Mapping[str, StoredWeight]) -> None:
        """Replace the inputs that are weights by their values."""
        for parameter in list(self._model.get_parameters()):
            name = parameter.get_friendly_name()
            if name in weights:
                # Each reader has operators of its own, which the runtime fuses with it.
                for reader in parameter.output(0).get_target_inputs():
                    reader.replace_source_output(self._value(weights[name], reader).output(0))
                self._model.remove_parameter(parameter)
        self._model.validate_nodes_and_infer_types()

    @singledispatchmethod
    def _value(self, weight: StoredWeight, reader: Any) -> Any:
        """The matrix that a reader gets."""
        raise NotImplementedError

    @_value.register
    def _(self, weight: torch.Tensor, reader: Any) -> Any:
        if weight.dtype is torch.bfloat16:
            value = _packed(weight.view(torch.int16), list(weight.shape), ov.Type.bf16)
        else:
            value = ops.constant(weight.numpy())
        return value if weight.dtype is torch.float32 else _as_float(value)

    @_value.register
    def _(self, weight: QuantisedWeight, reader: Any) -> Any:
        codes = in_blocks(weight)
        rows, (_, size, number) = len(codes.data), codes.blocks
        packed = _packed(codes.data, [rows, number, size], CODES[codes.blocks.bits])
        middle = ops.constant(np.float32(codes.half))
        if codes.zeros is not None:
            middle = ops.add(_as_float(ops.constant(codes.zeros.unsqueeze(-1).numpy())), middle)
        signed = ops.subtract(_as_float(packed), middle)
        scales = _as_float(ops.constant(codes.scales.unsqueeze(-1).numpy()))
        matrix = ops.reshape(ops.multiply(signed, scales), _vector(rows, number * size), False)
        if codes.columns == number * size:
            return matrix
        return ops.slice(matrix, _vector(0), _vector(codes.columns), _vector(1), _vector(1))

    @_value.register
    def _(self, weight: StaticInt8Weight, reader: Any) -> Any:
        """Beside the matrix, the inputs of its products are rounded."""
        node = reader.get_node()
        for product in [node] if node.get_type_name() == "MatMul" else _readers(node):
            inputs = product.input(0)
            inputs.replace_source_output(self._rounding(weight, inputs.get_source_output()))
        codes = ops.constant(weight.weight.codes.numpy())
        return ops.multiply(_as_float(codes), ops.constant(weight.weight.scales.float().numpy()))

    def _rounding(self, weight: StaticInt8Weight, inputs: Any) -> Any:
        """Inputs of a layer on its grid; layers of one range share it."""
        scale, zero = float(weight.input_scale), int(weight.input_zero_point)
        if weight.smoothing is not None:
            inputs = ops.divide(inputs, ops.constant(weight.smoothing.numpy())).output(0)
        node = inputs.get_node()
        key = (node.get_friendly_name(), inputs.get_index(), scale, zero)
        if key not in self._rounded:
            ends = (-zero * scale, (INPUT_LEVELS - 1 - zero) * scale)
            low, high = (ops.constant(np.float32(end)) for end in ends)
            rounded = ops.fake_quantize(inputs, low, high, low, high, INPUT_LEVELS)
            self._rounded[key] = rounded.output(0)
        return self._rounded[key]


def _as_float(value: Any) -> Any:
    return ops.convert(value, "f32")


def _packed(data: torch.Tensor, shape: list[int], kind: Any) -> Any:
    """A constant of a type that numpy lacks, of its bytes."""
    return ops.constant(ov.Tensor(data.numpy(), shape, kind), shared_memory=False)


def _vector(*values: int) -> Any:
    return ops.constant(np.asarray(values, dtype=np.int64))


def _readers(node: Any) -> list[Any]:
    return [each.get_node() for each in node.output(0).get_target_inputs()]
