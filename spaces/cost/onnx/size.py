"""Bytes of the files of a compressed model that runtimes read, before training.

Weights are arithmetic. What the graph and the names of its tensors take is linear in the layers:
``graphs.csv`` has it for each runtime and family, as ``python -m objectives.runtimes.graph_sizes``
writes it. OpenVINO's graph is text: a layer takes ten times the bytes of ONNX.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from statistics import mean

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation, RuntimeName
from spaces.cost.families import layout
from spaces.cost.layout import Layout, Role, Weight
from spaces.cost.onnx.blocks import blocks_of
from spaces.cost.size import size_bytes
from spaces.cost.workload import Family, Workload

TABLE = Path(__file__).with_name("graphs.csv")
COLUMNS = ("runtime", "family", "graph", "bytes", "of_layer", "of_decoder_layer")

_Q = Quantisation
GRAPHS = {
    _Q.NONE: _Q.NONE, _Q.BF16: _Q.FP16, _Q.FP16: _Q.FP16, _Q.STATIC_8: _Q.STATIC_8,
    _Q.SMOOTH_8: _Q.SMOOTH_8, _Q.RTN_8: _Q.RTN_8, _Q.RTN_6: _Q.RTN_8, _Q.RTN_4: _Q.RTN_4,
    _Q.GPTQ_4: _Q.RTN_4, _Q.HQQ_4: _Q.HQQ_4, _Q.RTN_3: _Q.RTN_4, _Q.GPTQ_3: _Q.RTN_4,
    _Q.HQQ_3: _Q.HQQ_4, _Q.RTN_2: _Q.RTN_2, _Q.GPTQ_2: _Q.RTN_2, _Q.HQQ_2: _Q.HQQ_2,
}  # fmt: skip
"""The quantisation that has the same graph; of mixed bits it is not known."""


def runtime_bytes(
    architecture: Architecture, workload: Workload, compression: Compression, runtime: RuntimeName
) -> int:
    """Predicted bytes of the file that a runtime executes, without the tokenizer."""
    if runtime is RuntimeName.TORCH:
        return size_bytes(architecture, workload, compression)
    pruned = layout(compression.shape_of(architecture), workload)
    return graph_file_bytes(pruned, workload.family, compression, runtime)


def graph_file_bytes(
    pruned: Layout, family: Family, compression: Compression, runtime: RuntimeName
) -> int:
    """Predicted bytes of the graph of a compressed model with its weights.

    Args:
        pruned: Layout of what structured pruning leaves.
        runtime: ``onnxruntime`` or ``openvino``.
    """
    graph = GRAPHS.get(compression.quantisation, Quantisation.RTN_8)
    if graph in (_Q.HQQ_4, _Q.HQQ_2) and compression.unstructured_sparsity:
        graph = _Q.NONE
    fixed, *of_layers = _graphs().get((runtime, family, graph)) or _mean_graph(runtime, graph)
    layers = sum(stack.depth * each for stack, each in zip(pruned.stacks, of_layers, strict=False))
    return round(fixed + layers) + weights_bytes(pruned, compression)


def weights_bytes(pruned: Layout, compression: Compression) -> int:
    """Bytes of the weights alone."""
    return _bytes(pruned.ends, compression) + sum(
        layers * _bytes(stack.weights_of(index), compression)
        for stack in pruned.stacks
        for index, layers in ((0, 1), (1, stack.depth - 1))
    )


def _bytes(weights: Iterable[Weight], compression: Compression) -> int:
    return sum(_bytes_of(weight, compression) for weight in weights)


def _bytes_of(weight: Weight, compression: Compression) -> int:
    quantisation = compression.quantisation
    is_linear = weight.role is Role.LINEAR
    has_zeros = is_linear and quantisation.method == "hqq"
    if weight.role is Role.DENSE or (has_zeros and compression.unstructured_sparsity):
        return 4 * weight.count
    if not quantisation.has_codes:
        return int(quantisation.bits * weight.count) // 8
    rows, columns = weight.shape
    if quantisation.is_static and is_linear:
        # Codes, and a scale and a zero for each row.
        return weight.count + 5 * rows + 4 * columns * (quantisation is Quantisation.SMOOTH_8)
    blocks = blocks_of(quantisation.bits, min(compression.group_size, columns), columns)
    return rows * (blocks.bytes + 2 * blocks.number * (1 + has_zeros))


@cache
def _graphs() -> dict[tuple[RuntimeName, Family, Quantisation], tuple[float, ...]]:
    """Bytes of a graph, and of each layer of its stacks."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (
                RuntimeName(row["runtime"]),
                Family(row["family"]),
                Quantisation(row["graph"]),
            ): tuple(float(row[name]) for name in COLUMNS[3:])
            for row in csv.DictReader(file)
        }


def _mean_graph(runtime: RuntimeName, graph: Quantisation) -> tuple[float, float, float]:
    """That of a model of no family of tlc's own: the mean of these."""
    rows = [row for (r, _, g), row in _graphs().items() if (r, g) == (runtime, graph)]
    fixed, layer, _ = map(mean, zip(*rows, strict=True))
    return fixed, layer, max(decoder for *_, decoder in rows)
