"""The compression matrix: every compression method on one trained model of each task.

For each search file the script trains one model, compresses it with every method, and prints a
Markdown table: bytes and predicted bytes, bits a weight of linear layers with their scales and
zeros, the score and its change, the added loss, and the latency relative to the dense fp32 model,
whose calls alternate with those of the compressed model. Then it

- compares rounding to nearest without its last code, with all codes, and with all codes and a range
  for each group;
- compares the order that ``compression: fit`` takes with the measured one, where the intervals of
  two scores do not overlap; with ``--write``, after it has written the added losses to
  ``spaces/grid/compression_losses.csv``, from which that order comes;
- loads every saved model in a fresh process and compares the outputs, which must be equal.

    python benchmarks/compression.py classification masked_lm causal_lm images
    python benchmarks/compression.py my_translation.yaml --depth 1 --width 128
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from fit_order import print_agreement, training_loss, write_losses
from rich.console import Console
from rounding_ranges import compare_ranges
from torch import nn

from objectives.compression import model_file
from objectives.data.batches import logits
from objectives.failures import TrialFailure
from objectives.measurement.evaluation import Evaluation
from objectives.measurement.latency import measure_latency
from objectives.objective import Objective
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import load

Q, P = Quantisation, Pruning
WEIGHT_ONLY = tuple(q for q in Q if q.has_codes and not q.is_static)
METHODS = (
    Compression(),
    *(Compression(q) for q in Quantisation if q is not Q.NONE),
    *(Compression(q, 64) for q in WEIGHT_ONLY),
    *(Compression(pruning=P.UNSTRUCTURED, sparsity=s) for s in (0.3, 0.5, 0.7, 0.8, 0.95)),
    Compression(pruning=P.SEMI_STRUCTURED, sparsity=0.5),
    *(Compression(pruning=P.STRUCTURED, sparsity=s) for s in (0.25, 0.5, 0.75)),
    *(Compression(pruning=kind, sparsity=s) for kind in (P.HEADS, P.NEURONS) for s in (0.25, 0.5)),
    Compression(pruning=P.LAYERS, sparsity=0.5),
    Compression(Q.RTN_4, pruning=P.STRUCTURED, sparsity=0.25),
    Compression(Q.STATIC_8, pruning=P.STRUCTURED, sparsity=0.25),
    Compression(Q.GPTQ_4, pruning=P.UNSTRUCTURED, sparsity=0.5),
    Compression(Q.HQQ_4, pruning=P.SEMI_STRUCTURED, sparsity=0.5),
)
RECOVERED = (
    Compression(pruning=P.UNSTRUCTURED, sparsity=0.8),
    Compression(pruning=P.SEMI_STRUCTURED, sparsity=0.5),
    Compression(pruning=P.STRUCTURED, sparsity=0.5),
    Compression(pruning=P.LAYERS, sparsity=0.5),
    Compression(Q.RTN_2),
    Compression(Q.HQQ_2),
    Compression(Q.RTN_3, pruning=P.STRUCTURED, sparsity=0.5),
)
"""Compressions that are also measured with recovery training."""

CHECK = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from objectives.compression import model_file
from objectives.data.batches import logits
from objectives.measurement.latency import torch_threads
inputs = load_file(sys.argv[1])
different = []
for folder, outputs in json.load(sys.stdin).items():
    with torch.inference_mode(), torch_threads(1):
        now = logits(model_file.load(Path(folder)), inputs)
    if not torch.equal(now, load_file(outputs)["logits"]):
        different.append(folder)
print(json.dumps(different))
"""


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--depth", default=2, show_default=True, help="Layers of the model (each stack).")
@click.option("--width", default=128, show_default=True, help="Its hidden size.")
@click.option(
    "--recovery", default=0.1, show_default=True, help="Recovery, as a fraction of the budget."
)
@click.option("--set", "overrides", multiple=True, help="As in tlc run.")
@click.option("--scratch", default=".tlc/matrix", show_default=True, help="Folder for outputs.")
@click.option("--latency/--no-latency", default=True, help="Whether to measure latency ratios.")
@click.option("--write", is_flag=True, help="Write the losses that compression: fit orders by.")
def main(
    files: tuple[str, ...],
    depth: int,
    width: int,
    recovery: float,
    overrides: tuple[str, ...],
    scratch: str,
    latency: bool,
    write: bool,
) -> None:
    folder = Path(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        fixed = (f"space.depth={depth}", f"space.width={width}", *overrides)
        search = load(file, fixed)
        _matrix(search, recovery, folder, with_latency=latency, write=write)


def _trained(search: SearchFile) -> Configuration:
    """The first architecture of a space at its largest budget, without compression."""
    space = SearchSpace(search)
    first = space.configuration((0,) * len(space.dimensions))
    budget = max(search.space.budget.values)
    return Configuration(first.architecture, budget, Compression(), search.seed)


def _matrix(
    search: SearchFile, recovery: float, scratch: Path, *, with_latency: bool, write: bool
) -> None:
    trained = _trained(search)
    budget = trained.budget
    objective = Objective(search)
    metric = search.metric
    print(
        f"\n### {search.task.name}: {trained.architecture}, {search.space.budget.unit} {budget:g}\n"
    )
    print(
        f"| method | bytes | predicted | of dense | bits a weight | {metric.name} | change "
        "| 95 % interval | added loss | latency ratio | s |\n|" + " --- |" * 11
    )
    tried = [*METHODS]
    tried += [
        replace(compression, recovery=fraction)
        for compression in RECOVERED
        for fraction in (0.0, recovery)
        if fraction or compression not in METHODS
    ]
    saved: dict[str, str] = {}
    measured: dict[Compression, Evaluation] = {}
    losses: dict[Compression, float] = {}
    dense: nn.Module | None = None
    inputs = objective.example_inputs()
    for compression in tried:
        in_steps = replace(compression, recovery=float(int(compression.recovery * budget)))
        configuration = trained.with_compression(in_steps)
        if configuration.canonical().compression.sparsity != compression.sparsity:
            continue  # This pruning removes nothing from this model.
        started = time.perf_counter()
        try:
            result = objective.evaluate(configuration)
        except TrialFailure as failure:
            reason = str(failure).splitlines()[0]
            print(f"| {in_steps} | {failure.state}: {reason} |" + " |" * 9)
            continue
        seconds = time.perf_counter() - started
        measured[compression] = result
        location = Path(objective.store.location(result.model))
        model = model_file.load(location)
        dense = dense or model
        losses[compression] = training_loss(model, objective)
        ratio = f"{_latency_ratio(model, dense, search, objective):.2f}" if with_latency else ""
        saved[str(location)] = _outputs(model, inputs, scratch, len(saved))
        print(
            f"| {_name(in_steps)} | {result.size_bytes:,} "
            f"| {result.predicted_size_bytes / result.size_bytes - 1:+.2%} "
            f"| {result.size_bytes / result.dense_size_bytes:.3f} | {_bits(compression)} "
            f"| {metric.text(result.score)} | {result.score - result.dense_score:+.3g} "
            f"| {metric.text(result.score_low)} to {metric.text(result.score_high)} "
            f"| {result.loss - result.dense_loss:+.4f} | {ratio} | {seconds:.1f} |",
            flush=True,
        )
    assert dense is not None, "the model without compression failed"
    if write:
        write_losses(search.task.name, measured, losses)
    compare_ranges(dense, trained.architecture, search.workload, objective, scratch)
    print_agreement(search.task.name, measured, is_maximised=metric.is_maximised)
    _check_reload(saved, inputs, scratch)


def _name(compression: Compression) -> str:
    is_usual = compression.group_size == Compression().group_size
    return f"{compression}" if is_usual else f"{compression} group {compression.group_size}"


def _bits(compression: Compression) -> str:
    """Bits of a weight of a linear layer, with its part of the fp16 scale and zero."""
    quantisation = compression.quantisation
    if quantisation not in WEIGHT_ONLY:
        return f"{quantisation.bits}"
    beside = 2 if quantisation.method == "hqq" else 1
    return f"{quantisation.bits + 16 * beside / compression.group_size:g}"


def _latency_ratio(
    model: torch.nn.Module, dense: torch.nn.Module, search: SearchFile, objective: Objective
) -> float:
    latency = measure_latency(
        model,
        dense,
        objective.example_inputs(),
        sequence_length=search.workload.sequence_length,
        threads=1,
        repeats=60,
    )
    return latency.p10_ms / latency.reference_p10_ms


def _outputs(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], scratch: Path, number: int
) -> str:
    from safetensors.torch import save_file

    from objectives.measurement.latency import torch_threads

    file = scratch / f"outputs-{number}.safetensors"
    with torch.inference_mode(), torch_threads(1):
        save_file({"logits": logits(model, inputs).contiguous()}, str(file))
    return str(file)


def _check_reload(saved: dict[str, str], inputs: dict[str, torch.Tensor], scratch: Path) -> None:
    from safetensors.torch import save_file

    file = scratch / "inputs.safetensors"
    save_file({name: tensor.clone() for name, tensor in inputs.items()}, str(file))
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(file)],
        input=json.dumps(saved),
        capture_output=True,
        text=True,
        check=True,
    )
    different = json.loads(done.stdout.splitlines()[-1])
    Console().print(
        f"\nloaded again in a fresh process: {len(saved) - len(different)} of {len(saved)} give "
        f"equal outputs {different or ''}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
