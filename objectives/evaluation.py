"""The record of one evaluated configuration: every number with its conditions."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch

from objectives.measurement.latency import Latency

RECORDED_PACKAGES = ("torch", "transformers", "neural-compressor-pt", "numpy")


@dataclass(frozen=True)
class Evaluation:
    """What came of one configuration.

    Args:
        metric: What models are scored by: ``accuracy``, ``perplexity`` or ``bleu``.
        score: Of the compressed model on validation, in the metric's unit.
        score_low: Lower end of its 95 % interval.
        score_high: Upper end.
        examples: Validation examples, or predicted tokens.
        loss: Mean validation cross-entropy in nats.
        dense_score: Score of the trained model before compression.
        dense_loss: Its loss.
        pretraining_loss: Masked-language-model loss on held-out text after pre-training.
        size_bytes: Bytes of the compressed model on disk, tokenizer apart.
        predicted_size_bytes: What arithmetic said.
        dense_size_bytes: Bytes of the same model uncompressed, fp32.
        flops: Forward FLOPs for one sequence, counted while the compressed model ran.
        parameters: Parameters of the trained model.
        latency: Latency and its conditions.
        training_flops: FLOPs of its whole training, recovery included, whoever did it.
        steps: Its optimiser steps: ``total``, ``trained`` now, ``reused`` from the store.
        seconds: Where its time went: ``train``, ``saved`` by the store, ``compress``, ``measure``;
            and what its whole training took, whoever did it: ``stable``, the path that its budgets
            share, ``cooldown``, all that follows, and ``recovery``, what its compression trains.
        model: Address of the compressed model in the store.
        checkpoint: Address of the trained model in the store.
        stages: Facts and training curve of each stage.
        data_fingerprint: SHA-256 of the data.
        versions: Versions of what computed it.
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
    steps: dict[str, int]
    seconds: dict[str, float]
    model: str
    checkpoint: str
    stages: list[dict[str, Any]]
    data_fingerprint: str
    versions: dict[str, str]

    @property
    def size_mb(self) -> float:
        """Size in megabytes of 10^6 bytes."""
        return self.size_bytes / 1e6

    @property
    def compression_ratio(self) -> float:
        """Dense fp32 bytes / compressed bytes."""
        return self.dense_size_bytes / self.size_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return {
            **asdict(self),
            "size_mb": self.size_mb,
            "latency_ms": self.latency.ms,
            "compression_ratio": self.compression_ratio,
        }


@lru_cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine a result."""
    packages = {name: version(name) for name in RECORDED_PACKAGES}
    # With the build, such as +cu130, which its metadata may lack.
    packages["torch"] = torch.__version__
    return {"python": platform.python_version(), **packages}
