"""A compressed model as an ONNX file that carries its codes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from objectives.compression.quantise.weights import StoredWeight
from objectives.runtimes.onnx_operators import EXACT, MICROSOFT, Constants, Operators, operators_of

MAX_PROTOBUF_BYTES = 1_900_000_000
"""Of tensors in a file; larger ones are written beside it."""


def with_weights(
    graph: bytes, stored: Mapping[str, StoredWeight], *, accuracy: int = EXACT
) -> ir.Model:
    """A graph with the weights of a compressed model.

    Args:
        graph: As of ``graph_without_weights``.
        stored: Weights by name, as of ``model_file.read_weights``.
        accuracy: As of ``CodeOperators``.
    """
    model = ir.from_proto(onnx.load_model_from_string(graph))
    inputs, constants = model.graph.inputs, Constants()
    for value in [each for each in inputs if each.name in stored]:
        assert value.name is not None
        weight = operators_of(value.name, constants, stored[value.name], accuracy)
        inputs.remove(value)
        _replace(model.graph, value, weight)
    for tensor in constants.initializers:
        model.graph.register_initializer(tensor)
    _insert(model.graph, constants, before=model.graph[0])
    model.graph.opset_imports[MICROSOFT] = 1
    _shorten(model)
    return model


def write(model: ir.Model, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model.

    Args:
        metadata: Properties of the file, which ONNX Runtime shows as its custom metadata.
    """
    model.metadata_props.update(metadata)
    tensors = [value.const_value for value in model.graph.initializers.values()]
    is_large = sum(t.nbytes for t in tensors if t is not None) > MAX_PROTOBUF_BYTES
    ir.save(model, path, external_data=f"{path.name}.data" if is_large else None)


def _replace(graph: ir.Graph, value: ir.Value, weight: Operators) -> None:
    """Let a weight's operators compute what reads its value."""
    for node, index in tuple(value.uses()):
        tape = ir.tape.Tape()
        matrix = _matrix_of_linear(node, index)
        if matrix is not None:
            output = weight.linear(tape, _input(matrix, 0))
        elif node.op_type == "Gather" and index == 0 and _attribute(node, "axis", 0) == 0:
            output = weight.gather(tape, _input(node, 1))
        else:
            output = None
        if output is None:
            node.replace_input_with(index, weight.value)
            continue
        replaced = matrix if matrix is not None else node
        if replaced.op_type == "Gemm" and len(replaced.inputs) > 2:
            output = tape.op("Add", [output, replaced.inputs[2]])
        _insert(graph, tape, before=replaced)
        old = replaced.outputs[0]
        output.name, output.type, output.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
        graph.remove([*{node, replaced}], safe=True)


def _matrix_of_linear(node: ir.Node, index: int) -> ir.Node | None:
    """The product of a linear layer that reads a value as its input number ``index``: ``Gemm``, or
    ``MatMul`` behind ``Transpose``."""
    if node.op_type == "Gemm" and index == 1:
        plain = (_attribute(node, "alpha", 1.0), _attribute(node, "beta", 1.0)) == (1.0, 1.0)
        orders = (_attribute(node, "transA", 0), _attribute(node, "transB", 0))
        return node if plain and orders == (0, 1) else None
    readers = list(node.outputs[0].uses())
    if node.op_type != "Transpose" or len(readers) != 1:
        return None
    product, side = readers[0]
    return product if product.op_type == "MatMul" and side == 1 else None


def _attribute(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _insert(graph: ir.Graph, tape: ir.tape.Tape, *, before: ir.Node) -> None:
    if tape.nodes:
        graph.insert_before(before, tape.nodes)


def _shorten(model: ir.Model) -> None:
    """Drop what ONNX Runtime infers: the graph of a small model would be larger than its codes."""
    passes = (
        common.RemoveUnusedNodesPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    )
    ir.passes.Sequential(*passes)(model)
    outputs = set(model.graph.outputs)
    inner = [v for node in model.graph for v in node.outputs if v not in outputs]
    for number, value in enumerate(inner):
        value.name, value.type, value.shape = f"v{number}", None, None
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
