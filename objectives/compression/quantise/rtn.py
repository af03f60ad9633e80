"""Round to nearest: symmetric weight-only codes."""

from __future__ import annotations

import torch

from objectives.compression.quantise.symmetric import (
    ScalesOf,
    best_scales,
    in_groups,
    nearest_codes,
)
from objectives.compression.quantise.weights import QuantisedWeight, refuse_not_finite


def round_to_nearest(
    weight: torch.Tensor,
    *,
    bits: int,
    group_size: int,
    scales_of: ScalesOf = best_scales,
) -> QuantisedWeight:
    """Quantise a matrix symmetrically to the nearest code, so that zero stays exactly zero.

    neural-compressor's own has one range for the whole matrix.

    Args:
        weight: fp32, ``(rows, columns)``.
        bits: 2 to 8.
        group_size: Columns that share a scale; the last group may be shorter.
        scales_of: The scales of groups, ``(..., group_size)``, by bits.

    Raises:
        TrialFailure: The weight or a scale is not finite (``not_finite``).
    """
    # An infinite weight quantises without an error.
    refuse_not_finite(weight, "a weight before quantisation")
    rows, columns = weight.shape
    group_size = min(group_size, columns)
    groups = in_groups(weight.detach().float(), group_size)
    scales = scales_of(groups, bits)
    refuse_not_finite(scales, "a scale after quantisation")
    codes = nearest_codes(groups, scales, bits).to(torch.int8).view(rows, -1)[:, :columns]
    return QuantisedWeight(codes.contiguous(), scales[..., 0].half(), bits, group_size)
