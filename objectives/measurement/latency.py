"""Latency of a model, timed in turn with a reference model while no other trial runs a step here.

They alternate in short blocks of calls: the machine is as fast for both, and after the first call
of a block its weights are in the processor's cache. In turn with single calls of a large model, the
reference took 1.4 times as long as alone, which looked like a slowed machine.

Models are judged by the 10th percentile, corrected for a slowed machine (``slowdown.py``). Medians
of one model on one machine differed by 45 % between runs, and by a factor of ten beside other
programs, which interrupt half of the calls; the 10th percentile is that of uninterrupted calls.
Busy neighbouring cores slow it too, by up to 45 % for calls of a millisecond, but they slow the
reference alike: the ratio of the two moved by at most 9 %. A call that is longer than a time slice
of the scheduler is always interrupted: it is marked noisy, and its latency is an estimate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from objectives.data.batches import Batch
from objectives.device import name_of_gpu, wait_for
from objectives.failures import TrialFailure
from objectives.measurement.slowdown import (
    MAX_SLOWDOWN,
    UNKNOWN_REFERENCE,
    MeasuredTimes,
    ReferenceTimes,
)
from objectives.predictor.measuring import processor as cpu
from objectives.runtimes.base import Forward
from objectives.store import heartbeat
from objectives.store.locks import MeasurementLock
from spaces.cost.compression import RuntimeName

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
BLOCK_CALLS = 8
"""Calls of one model in a row, at most."""
BLOCK_MS = 20.0
"""Longest block, in milliseconds, where it has several calls: the longer it is, the more the
machine's speed may change from one model to the other."""


Timer = Callable[[], float]
"""Runs a model once; returns the milliseconds that count."""
TimerOf = Callable[[Forward], Timer]
"""What of a model is timed."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one forward pass, or of what else ``TimerOf`` times.

    Args:
        min_ms: The fastest call, in milliseconds.
        p10_ms: Low percentile, as measured.
        spread: (p90 - p10) / p50.
        reference_p10_ms: Low percentile of the reference model, measured in turn with this one;
            ``reference_min_ms`` is its fastest call.
        best_reference_p10_ms: The lowest ``reference_p10_ms`` so far under these conditions, and
            ``best_reference_min_ms`` the lowest ``reference_min_ms``.
        conditions: Names what the reference's times depend on.
        noisy: Whether other programs disturbed the measurement: it is then an estimate.
        repeats: Timed calls, after ``warm_up`` other ones.
        processor: Machine and instruction set.
        runtime: What ran both models.
        sequence_length: Tokens that are read: of a text that is continued, its prompt.
        new_tokens: Tokens that are then written; 0 for a forward pass.
    """

    min_ms: float
    p10_ms: float
    p50_ms: float
    p95_ms: float
    spread: float
    reference_min_ms: float
    reference_p10_ms: float
    reference_p50_ms: float
    best_reference_min_ms: float
    best_reference_p10_ms: float
    conditions: str
    noisy: bool
    batch_size: int
    sequence_length: int
    threads: int
    repeats: int
    warm_up: int
    device: str
    processor: str
    runtime: RuntimeName = RuntimeName.TORCH
    new_tokens: int = 0

    @property
    def times(self) -> MeasuredTimes:
        """What its correction needs."""
        return MeasuredTimes.of(asdict(self))

    @property
    def best_reference(self) -> ReferenceTimes:
        """The best times of the reference so far."""
        return self.times.best_known

    @property
    def slowdown(self) -> float:
        """Factor by which the reference was slower than at its best."""
        return self.times.slowdown(self.best_reference)

    @property
    def corrected_ms(self) -> float:
        """The low percentile that the machine would have at its best: constraints and the frontier
        use it, so that a slowed machine does not change the order of models."""
        return self.times.corrected_ms(self.best_reference)


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
    model: Forward,
    reference: Forward,
    inputs: Batch,
    *,
    sequence_length: int,
    threads: int,
    repeats: int,
    best_reference: ReferenceTimes = UNKNOWN_REFERENCE,
    conditions: str = "",
    timer_of: TimerOf | None = None,
) -> Latency:
    """Time a model in turn with the reference; repeated while the machine is noisy.

    Training and other measurements on this machine wait for it. Each block of calls is a heartbeat.

    Args:
        model: A model, or its forward pass in a runtime.
        reference: Another whose latency is comparable from trial to trial.
        inputs: Arguments of both, without padding; the first has the shape ``(batch, ...)``.
        sequence_length: Tokens of each sequence, for the record.
        repeats: Least timed calls of each, in a round.
        best_reference: The best times of the reference so far under these conditions.
        conditions: Names them.
        timer_of: What of the model is timed; by default a forward pass on ``inputs``, as of the
            reference.

    Raises:
        TrialFailure: A time is not a positive number (``bad_latency``).
    """
    own: list[float] = []
    others: list[float] = []
    with MeasurementLock().measurement(), torch_threads(threads), torch.inference_mode():
        time_reference = forward_timer(inputs)(reference)
        time_model = (timer_of or forward_timer(inputs))(model)
        others_block, own_block = map(_block, (time_reference, time_model))
        blocks = math.ceil(repeats / min(others_block, own_block))
        started = time.monotonic()
        while True:
            for _ in range(blocks):
                heartbeat.beat("measuring latency")
                others += [time_reference() for _ in range(others_block)]
                own += [time_model() for _ in range(own_block)]
            noisy = is_noisy(own, others, best_reference.p10_ms)
            is_last = len(own) >= MAX_ROUNDS * blocks * own_block
            if not noisy or is_last or time.monotonic() - started > MAX_SECONDS:
                break
    first = next(iter(inputs.values()))
    p10, p50, p90, p95 = np.percentile(own, (LOW, 50, 90, HIGH)).tolist()
    if not (math.isfinite(p50) and p10 > 0.0):
        raise TrialFailure("bad_latency", f"the latency was {p10} to {p95} ms")
    reference_p10, reference_p50 = np.percentile(others, (LOW, 50)).tolist()
    best = best_reference.with_faster(ReferenceTimes(reference_p10, min(others)))
    return Latency(
        min_ms=min(own),
        p10_ms=p10,
        p50_ms=p50,
        p95_ms=p95,
        spread=(p90 - p10) / p50,
        reference_min_ms=min(others),
        reference_p10_ms=reference_p10,
        reference_p50_ms=reference_p50,
        best_reference_min_ms=best.min_ms,
        best_reference_p10_ms=best.p10_ms,
        conditions=conditions,
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
    model_halves, reference_halves = (
        [np.percentile(half, LOW) for half in (times[: len(times) // 2], times[len(times) // 2 :])]
        for times in (model, reference)
    )
    before, after = np.divide(model_halves, reference_halves).tolist()
    drift = max(before, after) / min(before, after)
    return bool(
        drift > MAX_DRIFT
        or median > MAX_INTERRUPTED * low
        or low > MAX_SLOWDOWN * best_reference_ms
    )


def processor(device: torch.device) -> str:
    """The device's name, or the CPU's name and the instruction set that torch uses."""
    if gpu := name_of_gpu(device):
        return gpu
    capability = torch.backends.cpu.get_cpu_capability()
    vnni = " VNNI" if torch.cpu._is_vnni_supported() else ""
    return f"{cpu()} {capability}{vnni}"


def forward_timer(inputs: Batch) -> TimerOf:
    """Times a forward pass on some inputs."""
    return lambda model: lambda: elapsed_ms(model, inputs)


def elapsed_ms(call: Callable[..., Any], arguments: Mapping[str, Any]) -> float:
    """Milliseconds of a call, with what it leaves to a GPU; a tensor of its arguments names it."""
    started = time.perf_counter()
    call(**arguments)
    wait_for(next(iter(arguments.values())).device)
    return (time.perf_counter() - started) * 1e3


def _block(timer: Timer) -> int:
    """Warm a model up; returns how many calls of it make a block."""
    fastest = math.inf
    for _ in range(WARM_UP):
        heartbeat.beat("measuring latency")
        started = time.perf_counter()
        timer()
        # Of the whole call: what counts may be a part of it.
        fastest = min(fastest, (time.perf_counter() - started) * 1e3)
    return max(1, min(BLOCK_CALLS, int(BLOCK_MS / fastest)))
