"""The mildest compression that meets a fixed cost."""

from __future__ import annotations

import itertools

from spaces.cost.compression import Compression
from spaces.file.space import Space


def severity(compression: Compression) -> float:
    """Sort key of compressions: stronger is larger. Only the order matters.

    The error of rounding halves with each bit, and the loss grows with its square. The loss of
    pruning grows faster than the sparsity, and is larger than that of eight or six bits. Recovery
    reduces the loss.
    """
    quantisation = compression.quantisation
    rounding = 4.0 ** (2 - quantisation.bits) if quantisation.has_codes else 0.0
    activations = 0.02 if quantisation.is_static else 0.0
    half = 1e-6 if quantisation.is_half else 0.0
    pruning = 0.1 * compression.sparsity + compression.sparsity**3
    method = 0.8 if quantisation.method in ("gptq", "hqq") else 1.0
    return (method * rounding + activations + half + pruning) / (1.0 + (compression.recovery > 0))


def compressions(space: Space) -> list[Compression]:
    """Every combination of a space's compressions, the mildest first."""
    every = itertools.product(
        space.quantisation.values,
        space.group_size.values,
        space.pruning.values,
        space.sparsity.values,
        space.recovery.values,
    )
    return sorted({Compression(*each): None for each in every}, key=severity)
