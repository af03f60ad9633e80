"""Errors of predicted latency and memory on shapes that were not measured, and the time of a plan.

For two tasks and two runtimes, the script measures 30 untrained models, chosen as a search chooses
them, predicts others, of architectures that were not among them, and measures these. A latency is
the 10th percentile of the CPU time of calls, in turn with blocks of the reference model and
corrected by it: on a busy machine, wall times hold the turns of other programs. It then plans
100,000 configurations in a fresh process.

    python benchmarks/predict_cost.py
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import click
import numpy as np
import torch

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_untrained
from objectives.data.batches import forward_arguments
from objectives.memory.probe import MemoryProbe
from objectives.runtimes.base import Forward
from objectives.runtimes.names import runtime_of
from objectives.runtimes.reference_model import store_reference
from objectives.testing.tiny_models import batch_for
from search.arrays import Floats
from search.samplers.forward_work import Work, work_of
from search.samplers.predicted_costs import (
    OF_MEMORY,
    OF_TIME,
    CostModel,
    cross_validated,
    error_of,
    well_spread,
)
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation, RuntimeName
from spaces.cost.workload import Family, Workload

MEASURED = 30
BLOCK, BLOCKS, MOST_SECONDS = 5, 8, 2.0
"""Calls of a block, blocks of each model, and seconds after which no further block begins."""
WORKLOADS = {
    "causal-lm": Workload(Family.LLAMA, 2048, 64),
    "classification": Workload(Family.MODERNBERT_CLASSIFIER, 2048, 64, classes=10),
}
METHODS = [Quantisation(name) for name in ("none", "static-8", "rtn-8", "rtn-4")]
PLANNED = {
    "space.depth": "{low: 1, high: 12}",
    "space.width": "{low: 64, high: 512, step: 64}",
    "space.head_width": "{choices: [16, 32]}",
    "space.feed_forward_ratio": "{choices: [2.0, 4.0]}",
    "space.budget": "{unit: steps, low: 100, high: 1600, log: true}",
    "space.quantisation": "{choices: [none, static-8, rtn-8, rtn-6, rtn-4, gptq-4, hqq-4, rtn-3, "
    "gptq-3]}",
    "space.sparsity": "{low: 0.0, high: 0.5, step: 0.1}",
}
"""A space of 103,680 configurations."""

Model = tuple[Architecture, Compression]


def drawn(count: int, rng: random.Random) -> list[tuple[Architecture, float]]:
    """Distinct random architectures, each with a sparsity."""
    found: dict[tuple[Architecture, float], None] = {}
    while len(found) < count:
        architecture = Architecture.of(
            rng.choice([1, 2, 3, 4]),
            rng.choice([64, 128, 192, 256, 320]),
            head_width=rng.choice([16, 32, 64]),
            feed_forward_ratio=rng.choice([2, 4]),
        )
        found[architecture, rng.choice([0.0, 0.25, 0.5])] = None
    return list(found)


class Bench:
    """Measures untrained models of a task in a runtime."""

    def __init__(self, workload: Workload, runtime: RuntimeName, folder: Path) -> None:
        self.workload, self.name, self.folder = workload, runtime, folder
        self.runtime = runtime_of(runtime)
        self.inputs = forward_arguments(batch_for(workload, count=1, seed=1))
        self.traced = forward_arguments(batch_for(workload, count=2))
        self.calibration = [batch_for(workload, count=8)]
        stored, self.of_reference = folder / "stored", folder / "reference"
        self.of_reference.mkdir()
        store_reference(workload, stored)
        self.runtime.prepare(stored, self.traced, self.of_reference)
        self.reference = self.runtime.open(self.of_reference, threads=1)
        self.probe = MemoryProbe(runtime, self.of_reference, self.inputs, 1, folder)

    def work(self, model: Model, *, is_stored: bool) -> Work:
        """What its latency (or, as it is stored, its memory) is predicted from."""
        architecture, compression = model
        counted = compression if is_stored else compression.at_runtime(self.name)
        return work_of(architecture, counted, self.workload, self.name)

    def measure(self, model: Model) -> tuple[float, float, float]:
        """Milliseconds of a model and of the reference, and megabytes."""
        architecture, compression = model
        spec = ModelSpec(architecture, self.workload, compression)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            stored, prepared = Path(folder) / "stored", Path(folder) / "prepared"
            prepared.mkdir()
            write_untrained(spec, self.calibration, stored)
            self.runtime.prepare(stored, self.traced, prepared)
            forward = self.runtime.open(prepared, threads=1)
            return *self._times(forward), self.probe.peak_mb(prepared)

    def _times(self, forward: Forward) -> tuple[float, float]:
        own: list[float] = []
        others: list[float] = []
        for each in (forward, self.reference):
            self._block(each)
        started = time.monotonic()
        while len(own) < BLOCK * BLOCKS and time.monotonic() - started < MOST_SECONDS:
            others += self._block(self.reference)
            own += self._block(forward)
        return float(np.percentile(own, 10)), float(np.percentile(others, 10))

    def _block(self, forward: Forward) -> list[float]:
        found = []
        for _ in range(BLOCK):
            started = time.thread_time()
            forward(**self.inputs)
            found.append((time.thread_time() - started) * 1e3)
        return found


def models_of(runtime: RuntimeName, unseen: int) -> tuple[list[Model], list[Model]]:
    """Models among which those to measure are chosen, and as many unseen ones.

    A graph of ONNX Runtime takes seconds to export, and serves every quantisation of a shape.
    """
    rng = random.Random(0)
    shared = 1 if runtime is RuntimeName.TORCH else len(METHODS)
    candidates = 300 if shared == 1 else 11
    shapes = drawn(candidates + -(-unseen // shared), rng)
    methods = [[rng.choice(METHODS)] if shared == 1 else METHODS for _ in shapes]
    models = [
        [(architecture, Compression(method, sparsity=sparsity)) for method in own]
        for (architecture, sparsity), own in zip(shapes, methods, strict=True)
    ]
    measured, others = models[:candidates], models[candidates:]
    return list(chain.from_iterable(measured)), list(chain.from_iterable(others))[:unseen]


def errors(bench: Bench, unseen: int) -> tuple[list[str], dict[str, Floats]]:
    """Lines of a table, and the relative errors of each cost on unseen models."""
    candidates, others = models_of(bench.name, unseen)
    spread = well_spread([bench.work(each, is_stored=False) for each in candidates], MEASURED)
    models = [candidates[index] for index in spread] + others
    ms, reference_ms, mb = np.array([bench.measure(each) for each in models]).T
    ms = ms * reference_ms.min() / reference_ms
    lines, found = [], {}
    for cost, columns, values in (("latency", OF_TIME, ms), ("memory", OF_MEMORY, mb)):
        works = [bench.work(each, is_stored=cost == "memory") for each in models]
        known, known_values = works[:MEASURED], values[:MEASURED]
        predicted = CostModel.fitted(columns, known, known_values).predict(works[MEASURED:])
        error = error_of(predicted, values[MEASURED:])
        found[cost] = np.abs(predicted / values[MEASURED:] - 1.0)
        lines.append(
            f"| {cost} | {values.min():.2f} to {values.max():.1f} "
            f"| {cross_validated(columns, known, known_values).p90:.1%} "
            f"| {error.median:.1%} | {error.p90:.1%} |"
        )
    return lines, found


def planning_seconds() -> tuple[float, float]:
    """Seconds of a fresh process that plans the large space, and its CPU seconds."""
    settings = [f"--set={name}={value}" for name, value in PLANNED.items()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    command = [sys.executable, "-m", "search.cli", "plan", "causal_lm", "--no-data", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.monotonic() - started, cpu


@click.command()
@click.option("--unseen", default=16, help="Unseen models of each task and runtime.")
@click.option("--runtimes", default="torch,onnxruntime")
def main(unseen: int, runtimes: str) -> None:
    """Print the errors and the time."""
    torch.set_num_threads(1)
    seconds, cpu = planning_seconds()
    print(f"tlc plan of 103,680 configurations: {seconds:.1f} s ({cpu:.1f} s of CPU)\n")
    print("| task | runtime | cost | ms or MB | cross-validated p90 | unseen: median | p90 |")
    print("|---|---|---|---|---|---|---|")
    every: dict[str, list[Floats]] = {}
    for task, workload in WORKLOADS.items():
        for name in map(RuntimeName, runtimes.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(workload, name, Path(folder))
                lines, found = errors(bench, unseen)
                bench.probe.close()
            for line in lines:
                print(f"| {task} | {name} {line}", flush=True)
            for cost, values in found.items():
                every.setdefault(cost, []).append(values)
    for cost, values in every.items():
        median, p90 = np.percentile(np.concatenate(values), (50, 90))
        count = sum(map(len, values))
        print(f"\n{cost}, {count} unseen models: median {median:.1%}, 90th percentile {p90:.1%}")


if __name__ == "__main__":
    main()
