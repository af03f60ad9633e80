"""Writes ``spaces/cost/onnx/graphs.csv``: bytes of the ONNX graphs of each family.

python -m objectives.runtimes.graph_sizes
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

import torch

from objectives.data.batches import Batch
from objectives.runtimes.onnx_graph import graph_of_shape
from objectives.runtimes.onnx_size import onnx_bytes
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout
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


def _rows(family: Family) -> Iterator[tuple[str, str, int, int, int]]:
    """A row for each graph of a family, of models of one layer and of one more in each stack."""
    workload = Workload(
        family, VOCABULARY, TOKENS, classes=3 if family.is_classifier_of_text else 0
    )
    if family is Family.VIT:
        workload = Workload(family, 0, 65, classes=3, image_size=32, patch_size=4, channels=3)
    depths = [(1, 1), (2, 1), (1, 2)] if family.has_decoder else [(1, 0), (2, 0)]
    found = [_overheads(workload, *depth) for depth in depths]
    for graph in dict.fromkeys(GRAPHS.values()):
        one, *more = (each[graph] for each in found)
        layers = [size - one for size in more]
        yield family, graph, one - sum(layers), layers[0], layers[1] if len(layers) > 1 else 0


def _overheads(workload: Workload, depth: int, decoder_depth: int) -> dict[Quantisation, int]:
    """Bytes of a file besides its weights, by quantisation."""
    shape = Architecture.of(depth, WIDTH, decoder_depth=decoder_depth).shape
    graph = graph_of_shape(shape, workload, _inputs(workload))
    described = layout(shape, workload)
    return {
        quantisation: onnx_bytes(graph, described, Compression(quantisation))
        - weights_bytes(described, Compression(quantisation))
        for quantisation in dict.fromkeys(GRAPHS.values())
    }


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
