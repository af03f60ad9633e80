"""Compressed models in ONNX Runtime and in eager torch: bytes of the file, latency and memory.

For every width the script compresses one untrained model (latency and bytes do not depend on
weights), writes it for ONNX Runtime, and times batch 1 on one thread: each call next to one of the
fp32 model in ONNX Runtime, so that a slow moment of the machine slows both. The ratios are those of
10th percentiles. ``int8 inputs`` rounds the inputs of ``MatMulNBits`` to eight bits, which exported
models do not; ``difference`` is the largest of a logit, as a fraction of the largest logit. Memory
is what a fresh process has more after it loaded and ran the file.

    python benchmarks/runtimes.py --family roberta-classifier --widths 128,256,512,1024
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.data.batches import Batch, forward_arguments, logits
from objectives.models.build import build
from objectives.runtimes.onnx_operators import INT8_ACTIVATIONS
from objectives.runtimes.onnx_runtime import OnnxRuntime
from objectives.runtimes.onnx_size import onnx_bytes
from objectives.testing.tiny_models import architecture_for, batch_for
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout
from spaces.cost.workload import Family, Workload

METHODS = "none fp16 static-8 rtn-8 gptq-4 hqq-4"
HEADER = (
    "| width | quantisation | packed bytes | onnx bytes | predicted | ONNX Runtime ms | of fp32 "
    "| torch ms | of fp32 | memory MB | difference |"
)
MEMORY = """
import json, sys, numpy, onnxruntime
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
arrays = {n: numpy.array(v, dtype=t) for n, (v, t) in json.loads(sys.argv[2]).items()}
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
before = resident()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, arrays)
print(resident() - before)
"""

Call = Callable[[], Any]


def low_times(calls: list[Call], repeats: int) -> list[float]:
    """10th percentile of the milliseconds of each function, called in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(repeats + 5):
        for call, own in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            if number >= 5:
                own.append((time.perf_counter() - started) * 1e3)
    return [float(np.percentile(own, 10)) for own in times]


def memory_mb(file: Path, arrays: dict[str, Any]) -> float:
    """Memory of a fresh process that loads and runs a file, less that before it loads it."""
    given = json.dumps({n: (array.tolist(), str(array.dtype)) for n, array in arrays.items()})
    command = [sys.executable, "-c", MEMORY, str(file), given]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def torch_call(stored: Path, batch: Batch) -> Call:
    """A forward pass of a stored model in eager torch."""
    model = model_file.load(stored)

    def call() -> Any:
        with torch.inference_mode():
            return logits(model, batch).numpy()

    return call


class Measured:
    """Models of one width.

    Args:
        batch: Inputs that are timed.
    """

    def __init__(self, workload: Workload, depth: int, width: int, repeats: int) -> None:
        self.workload = workload
        self.architecture = architecture_for(workload.family, depth, width)
        self.repeats = repeats
        torch.manual_seed(0)
        self.dense = build(self.architecture.shape, workload).eval()
        self.traced = forward_arguments(batch_for(workload, count=2))
        self.batch = forward_arguments(batch_for(workload, count=1, seed=1))
        self.arrays = {name: tensor.numpy() for name, tensor in self.batch.items()}
        self.exact, self.fast = OnnxRuntime(), OnnxRuntime(INT8_ACTIVATIONS)
        self.fast.graphs = self.exact.graphs

    def store(self, quantisation: Quantisation, folder: Path) -> ModelSpec:
        """Compress the model into a folder."""
        spec = ModelSpec(self.architecture, self.workload, Compression(quantisation))
        calibration = [batch_for(self.workload, count=8)]
        write_compressed(self.dense, spec, calibration, folder)
        return spec

    def rows(self, quantisation: Quantisation, folder: Path, reference: list[Call]) -> list[str]:
        """The rows of a quantisation.

        Args:
            reference: The fp32 model in ONNX Runtime and in torch.
        """
        spec = self.store(quantisation, folder)
        eager = torch_call(folder, self.batch)
        rows = []
        has_activations = quantisation.has_codes and not quantisation.is_static
        for runtime in (self.exact, self.fast) if has_activations else (self.exact,):
            runtime.prepare(folder, self.traced, folder)
            forward = runtime.open(folder, threads=1)
            calls = [*reference, lambda forward=forward: forward(**self.batch), eager]
            fp32, torch_fp32, own, torch_own = low_times(calls, self.repeats)
            size = runtime.bytes_on_disk(folder)
            name = f"{quantisation}, int8 inputs" if runtime is self.fast else f"{quantisation}"
            packed = f"{model_file.bytes_on_disk(folder):,}"
            predicted = "" if runtime is self.fast else f"{self.predicted(spec) / size - 1:+.2%}"
            expected = eager()
            difference = np.abs(forward(**self.batch) - expected).max() / np.abs(expected).max()
            memory = memory_mb(folder / runtime.file, self.arrays)
            rows.append(
                f"| {self.architecture.width} | {name} | {packed} | {size:,} | {predicted} "
                f"| {own:.3f} | {own / fp32:.2f} | {torch_own:.3f} | {torch_own / torch_fp32:.2f} "
                f"| {memory:.1f} | {difference:.1e} |"
            )
        return rows

    def predicted(self, spec: ModelSpec) -> int:
        """Bytes of the file, without its weights."""
        graph = self.exact.graph(spec.shape, spec.workload, self.traced)
        return onnx_bytes(graph, layout(spec.shape, spec.workload), spec.compression)


@click.command()
@click.option("--family", default="roberta-classifier", type=click.Choice([*map(str, Family)]))
@click.option("--widths", default="128,256,512,1024")
@click.option("--depth", default=2)
@click.option("--tokens", default=64)
@click.option("--vocabulary", default=8192)
@click.option("--methods", default=METHODS, help="Quantisations, separated by spaces.")
@click.option("--repeats", default=60)
def main(
    family: str, widths: str, depth: int, tokens: int, vocabulary: int, methods: str, repeats: int
) -> None:
    torch.set_num_threads(1)
    kind = Family(family)
    classes = 3 if kind.is_classifier_of_text else 0
    workload = Workload(kind, vocabulary, tokens, classes=classes)
    print(f"{family}, depth {depth}, batch 1 of {tokens} tokens, {vocabulary:,} pieces, one thread")
    print(f"\n{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    for width in map(int, widths.split(",")):
        measured = Measured(workload, depth, width, repeats)
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "dense"
            measured.store(Quantisation.NONE, folder)
            measured.exact.prepare(folder, measured.traced, folder)
            dense = measured.exact.open(folder, threads=1)
            reference: list[Call] = [
                lambda dense=dense, own=measured: dense(**own.batch),
                torch_call(folder, measured.batch),
            ]
            for name in methods.split():
                for row in measured.rows(Quantisation(name), Path(root) / name, reference):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
