"""The compression matrix: bytes against arithmetic, and latency against dense fp32 in the same run.

Untrained models of three shapes: neither bytes nor latency depends on the weights. Latencies are
medians of calls made in turn with the dense model's, at batch 1 and 64 tokens on one thread.

    python benchmarks/compression.py
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path

import torch

from objectives import artefact
from objectives.compress import compress
from objectives.failures import TrialFailure
from objectives.latency import measure_latency
from objectives.locks import Lane
from objectives.model import build_classifier
from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning, Quantisation
from spaces.shapes import Workload
from spaces.size import size_bytes

WORKLOAD = Workload(vocabulary_size=4096, sequence_length=64, classes=10)
SHAPES = [Architecture.of(1, 64), Architecture.of(4, 256), Architecture.of(2, 512)]
PRUNINGS = [
    (Pruning.STRUCTURED, 0.0),
    (Pruning.STRUCTURED, 0.25),
    (Pruning.STRUCTURED, 0.5),
    (Pruning.UNSTRUCTURED, 0.3),
    (Pruning.UNSTRUCTURED, 0.9),
]


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokens = torch.randint(5, WORKLOAD.vocabulary_size, (16, WORKLOAD.sequence_length))
    batch = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "labels": torch.randint(0, WORKLOAD.classes, (16,)),
    }
    worst = 0.0
    print(f"{'shape':8} {'compression':26} {'bytes':>10} {'predicted':>10} {'ratio':>7} {'ms':>7} "
          f"{'/ dense':>8}")  # fmt: skip
    for shape in SHAPES:
        model = build_classifier(shape, WORKLOAD).eval()
        for quantisation, (pruning, sparsity) in itertools.product(Quantisation, PRUNINGS):
            compression = Compression(quantisation, 32, pruning, sparsity)
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name) / "model"
                try:
                    loaded = compress(model, shape, WORKLOAD, compression, [batch] * 2, folder)
                except TrialFailure as failure:
                    print(f"{shape!s:8} {compression!s:26} {failure}")
                    continue
                size = artefact.bytes_on_disk(folder)
            predicted = size_bytes(shape, WORKLOAD, compression)
            worst = max(worst, abs(predicted / size - 1.0))
            latency = measure_latency(
                loaded, model, tokens[:1], threads=1, repeats=40, lane=Lane()
            )  # fmt: skip
            print(
                f"{shape!s:8} {compression!s:26} {size:10,} {predicted:10,} "
                f"{predicted / size:7.4f} {latency.p50_ms:7.2f} "
                f"{latency.p50_ms / latency.reference_p50_ms:8.2f}"
            )
    print(f"largest difference of predicted and real bytes: {worst:.2%}")


if __name__ == "__main__":
    main()
