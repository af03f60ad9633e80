"""Round to nearest: symmetric weight-only codes by neural-compressor."""

from __future__ import annotations

import torch

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    quiet_neural_compressor,
    refuse_not_finite,
)


def round_to_nearest(weight: torch.Tensor, *, bits: int, group_size: int) -> QuantisedWeight:
    """Quantise a matrix symmetrically to the nearest code, so that zero stays exactly zero.

    Args:
        weight: fp32, ``(rows, columns)``.
        bits: 2 to 8.
        group_size: Columns that share a scale.

    Raises:
        TrialFailure: The weight or a scale is not finite (``not_finite``).
    """
    quiet_neural_compressor()
    from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor

    # An infinite weight quantises without an error.
    refuse_not_finite(weight, "a weight before quantisation")
    group_size = min(group_size, weight.shape[1])
    # quant_tensor overwrites its argument with the codes.
    codes, scales, _ = quant_tensor(
        weight.detach().clone(), bits=bits, group_size=group_size, scheme="sym", return_int=True
    )
    scales = scales.reshape(weight.shape[0], -1).to(torch.float16)
    refuse_not_finite(scales, "a scale after quantisation")
    return QuantisedWeight(codes.to(torch.int8), scales, bits, group_size)
