"""What this machine can train with."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

EFFICIENCY = 0.2
"""Part of the speed of a large product of matrices that training small models has."""
GPU_FLOPS = 1e13
"""Of training on a GPU, a second: a tenth to a hundredth of what its maker names."""


@dataclass(frozen=True)
class Machine:
    """Processors, and how fast each trains.

    Args:
        cores: CPU cores that this process may use.
        gpus: GPUs.
        flops: Training FLOPs a second of a trial, a rough figure: ``tlc plan`` measures it.
    """

    cores: int
    gpus: int
    flops: float

    @property
    def trials_at_a_time(self) -> int:
        """One for each GPU, or for each core."""
        return self.gpus or self.cores

    @property
    def text(self) -> str:
        """The machine in a few words."""
        cores = f"{self.cores} core{'s' * (self.cores > 1)}"
        return f"{self.gpus} GPU{'s' * (self.gpus > 1)}, {cores}" if self.gpus else cores


def this_machine() -> Machine:
    """What is here, in a tenth of a second: a GPU is not used to know its speed."""
    return Machine(cores(), gpus(), GPU_FLOPS if gpus() else EFFICIENCY * _product_flops())


def gpus() -> int:
    """GPUs of this machine."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _product_flops() -> float:
    """FLOPs a second of one core, in a product of matrices that fit into the cache.

    Several threads would wait for each other on a busy machine: they were a hundred times slower.
    """
    size = 192
    left = np.ones((size, size), dtype=np.float32)
    seconds = []
    with threadpool_limits(1):
        for _ in range(20):
            started = time.perf_counter()
            left @ left
            seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds)
