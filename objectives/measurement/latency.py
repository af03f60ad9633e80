"""Latency of a model, timed in turn with a reference model while no other trial runs a step here.

Models are judged by the 10th percentile, corrected for a slowed machine (``corrected_ms``). Medians
of one model on one machine differed by 45 % between runs, and by a factor of ten beside other
programs, which interrupt half of the calls; the 10th percentile is that of uninterrupted calls.
Busy neighbouring cores slow it too, by up to 45 % for calls of a millisecond, but they slow the
reference alike: the ratio of the two moved by at most 9 %. A call that is longer than a time slice
of the scheduler is always interrupted: it is marked noisy, and its latency is an estimate.
"""

from __future__ import annotations

import math
import platform
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from objectives.data.batches import Batch
from objectives.failures import TrialFailure
from objectives.store.locks import MeasurementLock

WARM_UP = 5
LOW, HIGH = 10, 95
MAX_ROUNDS = 8
"""Rounds of repeats while the machine is noisy."""
MAX_SECONDS = 5.0
"""Seconds after which no further round begins, as training waits for the end."""
MAX_DRIFT = 1.1
"""Largest change of the model/reference ratio between the halves of the calls that is no noise."""
MAX_INTERRUPTED = 1.5
"""Median of the reference divided by its p10, above which other programs use the cores."""
MAX_SLOWDOWN = 1.25
"""p10 of the reference divided by its lowest p10, above which the machine is slowed down."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one forward pass.

    Args:
        p10_ms: Low percentile, in milliseconds, as measured.
        spread: (p90 - p10) / p50.
        reference_p10_ms: Low percentile of the reference model, measured in turn with this one.
        best_reference_p10_ms: The lowest ``reference_p10_ms`` so far under these conditions.
        noisy: Whether other programs disturbed the measurement: it is then an estimate.
        repeats: Timed calls, after ``warm_up`` other ones.
        processor: Machine and instruction set.
    """

    p10_ms: float
    p50_ms: float
    p95_ms: float
    spread: float
    reference_p10_ms: float
    reference_p50_ms: float
    best_reference_p10_ms: float
    noisy: bool
    batch_size: int
    sequence_length: int
    threads: int
    repeats: int
    warm_up: int
    device: str
    processor: str

    @property
    def slowdown(self) -> float:
        """Factor by which the reference was slower than at its best."""
        return max(1.0, self.reference_p10_ms / self.best_reference_p10_ms)

    @property
    def corrected_ms(self) -> float:
        """The low percentile that the machine would have at its best: constraints and the frontier
        use it, so that a slowed machine does not change the order of models."""
        return self.p10_ms / self.slowdown


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads, and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_latency(
    model: nn.Module,
    reference: nn.Module,
    inputs: Batch,
    *,
    sequence_length: int,
    threads: int,
    repeats: int,
    best_reference_ms: float = math.inf,
) -> Latency:
    """Time a model, each call next to one of the reference; repeated while the machine is noisy.

    Training and other measurements on this machine wait for it.

    Args:
        reference: A model whose latency is comparable from trial to trial.
        inputs: Arguments of both, without padding; the first has the shape ``(batch, ...)``.
        sequence_length: Tokens of each sequence, for the record.
        repeats: Timed calls of each, in a round.
        best_reference_ms: Lowest low percentile of the reference so far.

    Raises:
        TrialFailure: A time is not a positive number (``bad_latency``).
    """
    own: list[float] = []
    others: list[float] = []
    with MeasurementLock().measurement(), torch_threads(threads), torch.inference_mode():
        for _ in range(WARM_UP):
            model(**inputs)
            reference(**inputs)
        started = time.monotonic()
        while True:
            for _ in range(repeats):
                others.append(_time(reference, inputs))
                own.append(_time(model, inputs))
            noisy = is_noisy(own, others, best_reference_ms)
            is_last = len(own) >= MAX_ROUNDS * repeats
            if not noisy or is_last or time.monotonic() - started > MAX_SECONDS:
                break
    first = next(iter(inputs.values()))
    p10, p50, p90, p95 = np.percentile(own, (LOW, 50, 90, HIGH)).tolist()
    if not (math.isfinite(p50) and p10 > 0.0):
        raise TrialFailure("bad_latency", f"the latency was {p10} to {p95} ms")
    reference_p10, reference_p50 = np.percentile(others, (LOW, 50)).tolist()
    return Latency(
        p10_ms=p10,
        p50_ms=p50,
        p95_ms=p95,
        spread=(p90 - p10) / p50,
        reference_p10_ms=reference_p10,
        reference_p50_ms=reference_p50,
        best_reference_p10_ms=min(best_reference_ms, reference_p10),
        noisy=noisy,
        batch_size=len(first),
        sequence_length=sequence_length,
        threads=threads,
        repeats=len(own),
        warm_up=WARM_UP,
        device=first.device.type,
        processor=processor(first.device),
    )


def is_noisy(model: Sequence[float], reference: Sequence[float], best_reference_ms: float) -> bool:
    """Whether other programs disturbed a measurement, by the times of both models in order."""
    low, median = np.percentile(reference, (LOW, 50)).tolist()
    middle = len(model) // 2
    before, after = (
        np.percentile(model[half], LOW) / np.percentile(reference[half], LOW)
        for half in (slice(middle), slice(middle, None))
    )
    drift = max(before, after) / min(before, after)
    return bool(
        drift > MAX_DRIFT
        or median > MAX_INTERRUPTED * low
        or low > MAX_SLOWDOWN * best_reference_ms
    )


def processor(device: torch.device) -> str:
    """The device's name, or the CPU's name and the instruction set that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    vnni = " VNNI" if torch.cpu._is_vnni_supported() else ""
    return f"{_cpu()} {capability}{vnni}"


@cache
def _cpu() -> str:
    """Name of the CPU: machines of one instruction set differ in speed."""
    try:
        name = re.search(r"^model name\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        name = None
    return f"{name[1].strip() if name else ''} {platform.machine()}".strip()


def _time(model: nn.Module, inputs: Batch) -> float:
    started = time.perf_counter()
    model(**inputs)
    if next(iter(inputs.values())).device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3
