"""Features of architecture, budget and compression, and the prior of their effects.

The prior holds for Transformers in general and no data set in particular: each doubling of depth,
width or budget helps a little (Kaplan et al. 2020, arXiv 2001.08361, find power laws), eight bits
cost next to nothing and two bits much, pruning hurts more the more is pruned, and larger models
lose less (Li et al. 2020, arXiv 2002.11794, section 4). It is wide enough for a few trials to
overrule it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search.arrays import Floats
from search.samplers.gp.kernel import CompressionTrend, Prior

DENSE_BITS = 16
"""At this many bits and more, nothing is lost."""
USUAL_GROUP = 32
WIDTH = 1
QUANTISATION, STATIC, STRUCTURED, UNSTRUCTURED, LAYERS, RECOVERY = range(6)
ALWAYS = 4
"""Compression features that every space has; the others only where they vary."""
USUAL_RECOVERY = 100.0
"""Steps of recovery that count as one doubling; each further doubling adds the same."""


def training_features(
    *, depth: Floats, width: Floats, steps: Floats, heads: Floats, feed_forward: Floats
) -> Floats:
    """Doublings of depth, width, budget, head width and feed-forward ratio, ``(n, 5)``, each from
    the middle of its range."""
    ratios = (depth, width, steps, width / heads, feed_forward / width)
    logarithms = np.log2(np.stack(ratios, 1))
    middle: Floats = (logarithms.min(0) + logarithms.max(0)) / 2
    return logarithms - middle


def compression_features(
    *,
    bits: Floats,
    group_size: Floats,
    is_static: Floats,
    structured: Floats,
    unstructured: Floats,
    layers: Floats | None = None,
    recovery: Floats | None = None,
) -> Floats:
    """Rounding error, quantised activations and two sparsities, ``(n, 4)``; zeros without
    compression.

    Where ``layers`` or ``recovery`` vary there are two columns more: the fraction of layers that
    is removed, and the logarithm of the steps of recovery.

    The rounding error halves with each bit: 1 at two bits, 1/4 at four, 1/64 at eight. It is
    relative to the largest weight of a group, which for normal weights grows with the group's size
    g as ``sqrt(2 ln g)``.
    """
    error = np.where(bits >= DENSE_BITS, 0.0, 2.0 ** (2.0 - np.maximum(bits, 1.0)))
    error = error * np.sqrt(np.log(group_size) / np.log(USUAL_GROUP))
    columns = [error, is_static, structured, unstructured]
    if layers is not None and recovery is not None and (layers.any() or recovery.any()):
        columns += [layers, np.log2(1.0 + recovery / USUAL_RECOVERY)]
    return np.stack(columns, 1)


def _trend(feature: int, power: float, mean: float, deviation: float) -> CompressionTrend:
    return CompressionTrend(
        feature,
        power,
        mean,
        deviation,
        interacts_with=WIDTH,
        interaction_mean=-0.1 * mean,
        interaction_deviation=0.2 * deviation,
    )


PRIOR = Prior(
    level=(0.5, 1.0),
    slopes=((0.05, 0.2), (0.25, 0.3), (0.15, 0.25), (0.0, 0.05), (0.05, 0.1)),
    compression_trends=(
        # Quantisation noise has the power of the error's square.
        _trend(QUANTISATION, 2.0, -1.0, 0.8),
        _trend(STATIC, 1.0, -0.02, 0.05),
        _trend(STRUCTURED, 1.0, -0.1, 0.2),
        _trend(STRUCTURED, 3.0, -1.0, 0.9),
        _trend(UNSTRUCTURED, 1.0, -0.1, 0.2),
        _trend(UNSTRUCTURED, 3.0, -1.0, 0.9),
    ),
    training_scales=(2.5, 2.5, 3.0, 3.0, 3.0),
    compression_scales=(0.7, 1.0, 0.6, 0.6),
)


def prior_for(compressions: Floats) -> Prior:
    """The prior of a design space with such compression features."""
    if compressions.shape[1] == ALWAYS:
        return PRIOR
    # Removing layers hurts more than their fraction of the weights; recovery restores some.
    trends = (
        _trend(LAYERS, 1.0, -0.2, 0.3),
        _trend(LAYERS, 3.0, -1.0, 0.9),
        _trend(RECOVERY, 1.0, 0.05, 0.1),
    )
    return replace(
        PRIOR,
        compression_trends=(*PRIOR.compression_trends, *trends),
        compression_scales=(*PRIOR.compression_scales, 0.6, 1.5),
    )
