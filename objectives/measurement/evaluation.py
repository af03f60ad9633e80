"""The record of one evaluated configuration, with the conditions of every number."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch

from objectives.measurement.latency import Latency
from objectives.measurement.slowdown import MEASURED_COSTS


@lru_cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine a result."""
    return {
        "python": platform.python_version(),
        # With the build, such as +cu130, which its metadata may lack.
        "torch": torch.__version__,
        **{name: version(name) for name in ("transformers", "neural-compressor-pt", "numpy")},
    }


@dataclass(frozen=True)
class Evaluation:
    """The result of one configuration.

    Args:
        metric: Name of the score, such as ``accuracy``.
        score: Of the compressed model on validation, in the metric's unit; ``score_low`` and
            ``score_high`` are the ends of its 95 % interval.
        examples: Validation examples, or predicted tokens.
        loss: Mean validation cross-entropy in nats.
        dense_score: Score of the trained model before compression, with its ``dense_loss``.
        pretraining_loss: Masked-language-model loss on held-out text after pre-training.
        size_bytes: Bytes of the compressed model on disk, tokenizer apart.
        predicted_size_bytes: The size predicted from the architecture and the compression.
        dense_size_bytes: Bytes of the same model uncompressed, fp32.
        flops: Forward FLOPs for one sequence, counted while the compressed model ran.
        parameters: Parameters of the trained model.
        training_flops: FLOPs of its whole training, recovery and reused steps included;
            ``dense_training_flops`` are those before compression.
        steps_per_second: What turned its budget in seconds into steps, as it was measured before
            the search; None for budgets in other units.
        steps: Its optimiser steps: ``total``, ``trained`` now, ``reused`` from the store.
        seconds: Time of this trial: ``train``, ``compress``, ``measure``, and ``saved`` by the
            store; and of its whole training, reused steps included: ``stable``, the path that all
            budgets share, ``cooldown``, all stages after it, and ``recovery`` after pruning.
        model: Address of the compressed model in the store.
        checkpoint: Address of the trained model in the store.
        stages: Facts of each stage: its ``steps``, ``epochs``, ``tokens`` without padding and
            ``seconds``, its training ``curve``, and the ``held_out`` evaluations after its epochs.
        measured_costs: The costs that only some searches have, by name: a time, or a number.
        further_scores: ``value``, ``low`` and ``high`` of each further metric that is an objective,
            by its name.
        score_details: How sacreBLEU computed the score (``signature``), and ``chrf`` beside BLEU.
    """

    metric: str
    score: float
    score_low: float
    score_high: float
    examples: int
    loss: float
    dense_score: float
    dense_loss: float
    pretraining_loss: float | None
    size_bytes: int
    predicted_size_bytes: int
    dense_size_bytes: int
    flops: int
    parameters: int
    latency: Latency
    training_flops: int
    dense_training_flops: int
    steps_per_second: float | None
    steps: dict[str, int]
    seconds: dict[str, float]
    model: str
    checkpoint: str
    stages: list[dict[str, Any]]
    data_fingerprint: str
    measured_costs: Mapping[str, Latency | float] = field(default_factory=dict)
    further_scores: dict[str, dict[str, float]] = field(default_factory=dict)
    score_details: dict[str, str | float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=package_versions)

    @property
    def compression_ratio(self) -> float:
        """Dense fp32 bytes / compressed bytes."""
        return self.dense_size_bytes / self.size_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        further = {
            name if end == "value" else f"{name}_{end}": value
            for name, ends in self.further_scores.items()
            for end, value in ends.items()
        }
        times = {n: each for n, each in self.measured_costs.items() if isinstance(each, Latency)}
        return {
            **asdict(self),
            **further,
            **self.measured_costs,
            **{name: each.corrected_ms for name, each in times.items()},
            MEASURED_COSTS: {name: _details(each) for name, each in times.items()},
            "latency": _details(self.latency),
            "size_mb": self.size_bytes / 1e6,
            "latency_ms": self.latency.corrected_ms,
            "compression_ratio": self.compression_ratio,
        }


def _details(latency: Latency) -> dict[str, Any]:
    return {**asdict(latency), "slowdown": latency.slowdown}
