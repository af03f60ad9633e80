"""Latency as a number with its conditions: alone on the machine, next to a reference model."""

from __future__ import annotations

import math
import platform
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from objectives import progress
from objectives.batches import Batch
from objectives.failures import TrialFailure
from objectives.locks import Lane
from objectives.threads import threads as torch_threads

WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one forward pass.

    The low percentile moves least with what else the machine does; the reference, timed in turn
    with the model, shows how fast the machine was at that moment.

    Args:
        p10_ms: Low percentile, in milliseconds.
        p50_ms: Median.
        p95_ms: High percentile.
        spread: (p90 - p10) / p50.
        reference_p50_ms: Median of the reference model, measured in turn with this one.
        batch_size: Sequences in the batch.
        sequence_length: Tokens of each sequence.
        threads: CPU threads.
        repeats: Timed calls.
        warm_up: Calls before those.
        device: Kind of device.
        processor: Machine and instruction set.
    """

    p10_ms: float
    p50_ms: float
    p95_ms: float
    spread: float
    reference_p50_ms: float
    batch_size: int
    sequence_length: int
    threads: int
    repeats: int
    warm_up: int
    device: str
    processor: str


def measure_latency(
    model: nn.Module,
    reference: nn.Module,
    inputs: Batch,
    *,
    sequence_length: int,
    threads: int,
    repeats: int,
    lane: Lane,
) -> Latency:
    """Time a model, each call next to one of the reference, while nothing else of tlc runs here.

    Args:
        model: The model, in evaluation mode.
        reference: A model whose latency is comparable from trial to trial.
        inputs: Arguments of both, without padding; the first has the shape ``(batch, ...)``.
        sequence_length: Tokens of each sequence, for the record.
        threads: CPU threads to use meanwhile.
        repeats: Timed calls of each.
        lane: The machine's measurement lane.

    Raises:
        TrialFailure: A time is not a positive number (``bad_latency``).
    """
    times: dict[str, list[float]] = {"model": [], "reference": []}
    with lane.measurement(), torch_threads(threads), torch.inference_mode():
        for _ in range(WARM_UP):
            model(**inputs)
            reference(**inputs)
        for _ in range(repeats):
            progress.made("measuring latency")
            times["reference"].append(_time(reference, inputs))
            times["model"].append(_time(model, inputs))
    first = next(iter(inputs.values()))
    p = statistics.quantiles(times["model"], n=100, method="inclusive")
    p10, p50, p90, p95 = p[9], p[49], p[89], p[94]
    if not (math.isfinite(p50) and p50 > 0.0):
        raise TrialFailure("bad_latency", f"the median latency was {p50} ms")
    return Latency(
        p10_ms=p10,
        p50_ms=p50,
        p95_ms=p95,
        spread=(p90 - p10) / p50,
        reference_p50_ms=statistics.median(times["reference"]),
        batch_size=len(first),
        sequence_length=sequence_length,
        threads=threads,
        repeats=repeats,
        warm_up=WARM_UP,
        device=first.device.type,
        processor=processor(first.device),
    )


def processor(device: torch.device) -> str:
    """The device's name, or the CPU's machine type and the instruction set that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    vnni = " VNNI" if torch.cpu._is_vnni_supported() else ""
    return f"{platform.machine()} {capability}{vnni}"


def _time(model: nn.Module, inputs: Batch) -> float:
    started = time.perf_counter()
    model(**inputs)
    if next(iter(inputs.values())).device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3
