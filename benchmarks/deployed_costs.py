"""Is tlc's figure what a person sees who ships the file? Latency and bytes, for every task.

For each kind of model and compression, tlc writes the file of each runtime and measures it as in a
search: in turn with the reference model, and 10th percentiles. Then a fresh process that imports
nothing of tlc (for torch: only the reader of its packed file) loads the same file, takes its bytes
and times it with the runtime's own interface. Models are untrained, as neither depends on weights.

Both are repeated in turn, and the lowest 10th percentile of each is compared, which is that of the
machine at its best. ``bytes`` is the difference of the file on disk from tlc's figure.
The file of ``tlc export --onnx`` has the properties of its task beside.

    python benchmarks/deployed_costs.py --rounds 5
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from objectives.compression.model_file import ModelSpec
from objectives.compression.pipeline import write_untrained
from objectives.data.batches import forward_arguments
from objectives.measurement.runtime_bench import RuntimeBench
from objectives.runtimes.names import runtime_of
from objectives.testing.tiny_models import architecture_for, batch_for
from spaces.cost.compression import Compression, Quantisation, RuntimeName
from spaces.cost.workload import Family, Workload
from spaces.file.space import Measurement

TASKS = {
    "classification, regression, pairs": (Family.MODERNBERT_CLASSIFIER, {"classes": 3}),
    "token-classification": (Family.MODERNBERT_TOKEN_CLASSIFIER, {"classes": 9}),
    "masked-lm": (Family.MODERNBERT_MASKED_LM, {}),
    "causal-lm": (Family.LLAMA, {}),
    "translation, summarisation": (Family.MBART, {}),
    "image-classification": (Family.VIT, {}),
}
IMAGES = {"classes": 10, "image_size": 32, "patch_size": 4, "channels": 3}
FORWARD = {
    "onnxruntime": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(folder + "/model.onnx", options)
forward = lambda: session.run(None, inputs)
""",
    "openvino": """
import openvino
forward_of = openvino.Core().compile_model(folder + "/model.xml", "CPU", {
    "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "ENABLE_CPU_PINNING": False,
})
forward = lambda: forward_of(inputs)
""",
    "torch": """
import torch
from pathlib import Path
from objectives.compression import model_file
torch.set_num_threads(1)
model = model_file.load(Path(folder))
tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
def forward():
    with torch.inference_mode():
        return model(**tensors)
""",
}
"""How a person runs a file, by runtime."""
PROGRAM = """
import json, os, sys, time, numpy
folder, repeats = sys.argv[1], int(sys.argv[2])
inputs = dict(numpy.load(folder + "/../inputs.npz"))
bytes_on_disk = sum(each.stat().st_size for each in os.scandir(folder))
{forward}
times = []
for number in range(repeats + 5):
    started = time.perf_counter()
    forward()
    times.append((time.perf_counter() - started) * 1e3)
print(json.dumps([bytes_on_disk, float(numpy.percentile(times[5:], 10))]))
"""
HEADER = (
    "| task | quantisation | runtime | tlc ms | independent ms | tlc / independent "
    "| tlc bytes | bytes |"
)


def independent(runtime: str, folder: Path, repeats: int) -> tuple[int, float]:
    """Bytes and milliseconds of a file in a fresh process."""
    program = PROGRAM.replace("{forward}", FORWARD[runtime])
    command = [sys.executable, "-c", program, str(folder), str(repeats)]
    found: tuple[int, float] = json.loads(subprocess.check_output(command, text=True))
    return found


def rows(
    task: str, family: Family, sizes: dict[str, Any], quantisation: Quantisation, rounds: int,
    repeats: int,
) -> list[tuple[str, float]]:  # fmt: skip
    """A row for each runtime, and the ratio of the latencies."""
    tokens = 65 if family is Family.VIT else 64
    rest = IMAGES if family is Family.VIT else sizes
    workload = Workload(family, 0 if family is Family.VIT else 8192, tokens, **rest)
    spec = ModelSpec(architecture_for(family, 2, 128), workload, Compression(quantisation))
    inputs, traced = (forward_arguments(batch_for(workload, count=n)) for n in (1, 2))
    found = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (stored := root / "stored").mkdir()
        write_untrained(spec, [batch_for(workload, count=8)], stored)
        np.savez(root / "inputs.npz", **{key: each.numpy() for key, each in inputs.items()})
        graphs: dict[str, bytes] = {}
        for runtime in RuntimeName:
            own = runtime_of(runtime, graphs)
            (shipped := root / f"{runtime}").mkdir()
            own.prepare(stored, traced, shipped)
            (work := root / f"bench-{runtime}").mkdir()
            conditions = Measurement(repeats=repeats)
            bench = RuntimeBench(own, workload, conditions, inputs, traced, work)
            tlc, others = [], []
            for _ in range(rounds):
                cost = bench.measure(stored)
                tlc.append(cost.latency.p10_ms)
                on_disk, ms = independent(runtime, shipped, repeats)
                others.append(ms)
            ratio = min(tlc) / min(others)
            row = (
                f"| {task} | {quantisation} | {runtime} | {min(tlc):.3f} | {min(others):.3f} "
                f"| {ratio:.2f} | {cost.size_bytes:,} | {on_disk - cost.size_bytes:+d} |"
            )
            found.append((row, ratio))
    return found


@click.command()
@click.option("--methods", default="none static-8 rtn-4", help="Quantisations.")
@click.option("--tasks", default="", help="Only tasks with this in their names.")
@click.option("--rounds", default=3)
@click.option("--repeats", default=60)
def main(methods: str, tasks: str, rounds: int, repeats: int) -> None:
    torch.set_num_threads(1)
    print(f"{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    ratios = []
    for task, (family, sizes) in TASKS.items():
        if tasks not in task:
            continue
        for method in methods.split():
            for row, ratio in rows(task, family, sizes, Quantisation(method), rounds, repeats):
                print(row, flush=True)
                ratios.append(ratio)
    within = sum(abs(ratio - 1.0) <= 0.1 for ratio in ratios)
    print(f"\nlatency within 10 %: {within} of {len(ratios)}")


if __name__ == "__main__":
    main()
