"""Writes ``spaces/cost/onnx/graphs.csv``: bytes of the graphs of each family in each runtime.

python -m objectives.runtimes.graph_sizes
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from objectives.compression.quantise.weights import QuantisedWeight, StaticInt8Weight, StoredWeight
from objectives.data.batches import Batch
from objectives.runtimes.onnx_graph import graph_of_shape
from objectives.runtimes.onnx_size import onnx_bytes, zeros_for
from objectives.runtimes.openvino_runtime import OpenVinoRuntime, write_openvino
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation, RuntimeName
from spaces.cost.families import layout
from spaces.cost.layout import Layout
from spaces.cost.onnx.size import COLUMNS, GRAPHS, TABLE, weights_bytes
from spaces.cost.workload import Family, Workload

TOKENS, WIDTH, VOCABULARY = 64, 256, 8192
"""Those of the models that are exported; the bytes of a graph hardly depend on them."""


def main() -> None:
    """Write the table."""
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for family in Family:
            if family not in (Family.CHECKPOINT, Family.OWN):
                writer.writerows(_rows(family))


def _rows(family: Family) -> Iterator[tuple[str, str, str, int, int, int]]:
    """A row for each runtime and graph of a family, of models of one layer and of one more in each
    stack."""
    workload = Workload(
        family, VOCABULARY, TOKENS, classes=3 if family.is_classifier_of_text else 0
    )
    if family is Family.VIT:
        workload = Workload(family, 0, 65, classes=3, image_size=32, patch_size=4, channels=3)
    depths = [(1, 1), (2, 1), (1, 2)] if family.has_decoder else [(1, 0), (2, 0)]
    found = [_overheads(workload, *depth) for depth in depths]
    for runtime, graph in found[0]:
        one, *more = (each[runtime, graph] for each in found)
        layers = [size - one for size in more]
        fixed = one - sum(layers)
        yield runtime, family, graph, fixed, layers[0], layers[1] if len(layers) > 1 else 0


def _overheads(
    workload: Workload, depth: int, decoder_depth: int
) -> dict[tuple[RuntimeName, Quantisation], int]:
    """Bytes of a file besides its weights, by runtime and quantisation."""
    shape = Architecture.of(depth, WIDTH, decoder_depth=decoder_depth).shape
    graph = graph_of_shape(shape, workload, _inputs(workload))
    described = layout(shape, workload)
    return {
        (runtime, quantisation): size(graph, described, Compression(quantisation))
        - weights_bytes(described, Compression(quantisation))
        for runtime, size in SIZES.items()
        for quantisation in dict.fromkeys(GRAPHS.values())
    }


def _openvino_bytes(graph: bytes, described: Layout, compression: Compression) -> int:
    """Bytes of the files of OpenVINO, which writes equal weights once: here all are different."""
    weights = {
        weight.name: _random_like(zeros_for(weight, compression)) for weight in described.weights()
    }
    with TemporaryDirectory() as folder:
        write_openvino(graph, weights, Path(folder))
        return OpenVinoRuntime().bytes_on_disk(Path(folder))


def _random_like(zeros: StoredWeight) -> StoredWeight:
    if isinstance(zeros, torch.Tensor):
        return torch.rand_like(zeros)
    if isinstance(zeros, StaticInt8Weight):
        smoothing = None if zeros.smoothing is None else torch.rand_like(zeros.smoothing)
        codes = _random_like(zeros.weight)
        assert isinstance(codes, QuantisedWeight)
        return replace(zeros, weight=codes, smoothing=smoothing)
    half = 1 << (zeros.bits - 1)
    return replace(
        zeros,
        codes=torch.randint(-half, half, zeros.codes.shape, dtype=torch.int8),
        scales=torch.rand_like(zeros.scales),
        zeros=None if zeros.zeros is None else torch.rand_like(zeros.zeros),
    )


SIZES = {RuntimeName.ONNX_RUNTIME: onnx_bytes, RuntimeName.OPENVINO: _openvino_bytes}


def _inputs(workload: Workload) -> Batch:
    tokens = torch.full((2, workload.sequence_length), 5)
    if workload.family is Family.VIT:
        return {"pixel_values": torch.zeros(2, workload.channels, *[workload.image_size] * 2)}
    if workload.family is Family.LLAMA:
        return {"input_ids": tokens}
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return {**inputs, "decoder_input_ids": tokens} if workload.family.has_decoder else inputs


if __name__ == "__main__":
    main()
