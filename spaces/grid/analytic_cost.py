"""What arithmetic knows of the inference cost of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, RuntimeName
from spaces.cost.flops import forward_flops
from spaces.cost.onnx.size import runtime_bytes
from spaces.cost.size import max_compressed_bytes, size_bytes
from spaces.cost.workload import Workload


@dataclass(frozen=True, slots=True)
class AnalyticCost:
    """What inference costs, as far as arithmetic knows it before training.

    Args:
        size_mb: Predicted megabytes (10^6 bytes) on disk after compression.
        flops: Forward FLOPs for one sequence of full length.
        is_smaller: Whether compression makes the model smaller, where there is any: what does not
            is refused after training.
    """

    size_mb: float
    flops: int
    is_smaller: bool = True


@lru_cache(maxsize=200_000)
def analytic_cost(
    architecture: Architecture,
    compression: Compression,
    workload: Workload,
    runtime: RuntimeName = RuntimeName.TORCH,
) -> AnalyticCost:
    """Inference cost of ``architecture`` after ``compression`` in a runtime, by arithmetic."""
    size = size_bytes(architecture, workload, compression)
    is_torch = runtime is RuntimeName.TORCH
    deployed = size if is_torch else runtime_bytes(architecture, workload, compression, runtime)
    return AnalyticCost(
        size_mb=deployed / 1e6,
        flops=forward_flops(compression.shape_of(architecture), workload),
        is_smaller=size < max_compressed_bytes(architecture, workload, compression),
    )
