"""The columns of features of compressions, from what each of them does to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search.arrays import Floats
from search.samplers.frontier.features import compression_features, method_features, rounding_error
from spaces.cost.compression import Compression, Pruning

CAREFUL_BITS = 0.3
"""Bits that a quantiser is assumed to save which chooses codes by their effect."""


def compression_columns(
    every: Sequence[Compression], recovery_steps: Sequence[float]
) -> tuple[Floats, Floats]:
    """Features of compressions, and those that tell methods apart, ``(compressions, …)`` each.

    Args:
        recovery_steps: Steps that each of them trains after pruning.
    """
    group_size = _column(c.group_size for c in every)
    is_static = _column(c.quantisation.is_static for c in every)
    structured = _column(_removed_fraction(c) for c in every)
    unstructured = _column(c.unstructured_sparsity for c in every)
    common = compression_features(
        bits=_column(_effective_bits(c) for c in every),
        group_size=group_size,
        is_static=is_static,
        structured=structured,
        unstructured=unstructured,
        layers=_column(c.sparsity * (c.pruning is Pruning.LAYERS) for c in every),
        recovery=_column(recovery_steps),
    )
    error = rounding_error(_column(c.quantisation.bits for c in every), group_size)
    quantisers = [c.quantisation.method for c in every]
    pruners = [c.pruning.value for c in every]
    methods = method_features(
        [
            (error * (1.0 - is_static), quantisers),
            (is_static, quantisers),
            (structured, pruners),
            (unstructured, pruners),
        ]
    )
    return common, methods


def _removed_fraction(compression: Compression) -> float:
    """Fraction of each layer's weights that structured pruning removes: attention has four of
    twelve parts, the feed-forward block eight."""
    parts = {Pruning.STRUCTURED: 1.0, Pruning.HEADS: 1 / 3, Pruning.NEURONS: 2 / 3}
    return parts.get(compression.pruning, 0.0) * compression.sparsity


def _effective_bits(compression: Compression) -> float:
    """Bits at which round-to-nearest would lose as little."""
    quantisation = compression.quantisation
    return quantisation.bits + CAREFUL_BITS * quantisation.optimises_codes


def _column(values: Any) -> Floats:
    return np.array(list(values), dtype=np.float64)
