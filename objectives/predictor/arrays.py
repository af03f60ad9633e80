"""Arithmetic of logits, and batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def log_softmax(logits: Any) -> Any:
    """Logarithms of the probabilities of logits ``(..., outputs)``, float32."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def losses(logits: Any, targets: Any) -> Any:
    """Cross-entropy in nats ``(...)`` of logits ``(..., vocabulary)`` and targets ``(...)``."""
    return -np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0]


def batches(rows: Any, size: int) -> Iterator[Any]:
    """Rows in batches of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
