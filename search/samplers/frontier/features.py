"""How depth, width, budget, bits and sparsity become coordinates of the surrogate, and its priors.

The priors say what is known of Transformers in general and of no data set: more of anything helps
a little for each doubling (Kaplan et al. 2020, arXiv 2001.08361, find power laws), eight bits cost
next to nothing and two bits much, pruning hurts faster the more is pruned, and larger models lose
less (Li et al. 2020, arXiv 2002.11794, section 4). All are wide enough to be overruled by a few
trials.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search.arrays import Floats
from search.samplers.gp.kernel import CompressionTrend, Prior

DENSE_BITS = 16
"""From this many bits on nothing is lost."""
USUAL_GROUP = 32
WIDTH = 1
QUANTISATION, STATIC, STRUCTURED, UNSTRUCTURED, LAYERS, RECOVERY = range(6)
ALWAYS = 4
"""Coordinates of compression that every space has; the others only where they vary."""
USUAL_RECOVERY = 100.0
"""Steps after which recovery helps half as much again for each doubling."""


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
    """Rounding error, quantised activations, sparsities ``(n, 4)``; zeros for no compression.

    With ``layers`` or ``recovery`` there are two columns more: the share of layers that is removed,
    and the logarithm of the steps of recovery.

    The error of rounding halves with each bit: 1 at two bits, 1/4 at four, 1/64 at eight. It is a
    share of the largest weight of a group, which for normal weights grows with the group's size g
    as ``sqrt(2 ln g)``.
    """
    error = np.where(bits >= DENSE_BITS, 0.0, 2.0 ** (2.0 - np.maximum(bits, 1.0)))
    error = error * np.sqrt(np.log(group_size) / np.log(USUAL_GROUP))
    columns = [error, is_static, structured, unstructured]
    if layers is not None and recovery is not None and (layers.any() or recovery.any()):
        columns += [layers, np.log2(1.0 + recovery / USUAL_RECOVERY)]
    return np.stack(columns, 1)


def _loss(coordinate: int, power: float, mean: float, deviation: float) -> CompressionTrend:
    return CompressionTrend(
        coordinate=coordinate,
        power=power,
        mean=mean,
        deviation=deviation,
        weaker_along=WIDTH,
        interaction_mean=-0.1 * mean,
        interaction_deviation=0.2 * deviation,
    )


PRIOR = Prior(
    level=(0.5, 1.0),
    slopes=((0.05, 0.2), (0.25, 0.3), (0.15, 0.25), (0.0, 0.05), (0.05, 0.1)),
    compression_trends=(
        # Quantisation noise has the power of the error's square.
        _loss(QUANTISATION, 2.0, -1.0, 0.8),
        _loss(STATIC, 1.0, -0.02, 0.05),
        _loss(STRUCTURED, 1.0, -0.1, 0.2),
        _loss(STRUCTURED, 3.0, -1.0, 0.9),
        _loss(UNSTRUCTURED, 1.0, -0.1, 0.2),
        _loss(UNSTRUCTURED, 3.0, -1.0, 0.9),
    ),
    training_length_scales=(2.5, 2.5, 3.0, 3.0, 3.0),
    compression_length_scales=(0.7, 1.0, 0.6, 0.6),
)


def prior_for(compressions: Floats) -> Prior:
    """What is believed before any trial of a design space with such coordinates of compression."""
    if compressions.shape[1] == ALWAYS:
        return PRIOR
    # A layer holds more than its share of weights says, and a recovery gives back.
    losses = (
        _loss(LAYERS, 1.0, -0.2, 0.3),
        _loss(LAYERS, 3.0, -1.0, 0.9),
        _loss(RECOVERY, 1.0, 0.05, 0.1),
    )
    return replace(
        PRIOR,
        compression_trends=(*PRIOR.compression_trends, *losses),
        compression_length_scales=(*PRIOR.compression_length_scales, 0.6, 1.5),
    )
