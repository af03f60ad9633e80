"""HQQ: scales and zeros fitted to a matrix without data, by neural-compressor's solver."""

from __future__ import annotations

import gc

import torch

from objectives.compression.quantise.weights import (
    QuantisedWeight,
    import_neural_compressor,
    refuse_not_finite,
)


def half_quadratic(weight: torch.Tensor, *, bits: int, group_size: int) -> QuantisedWeight:
    """Half-quadratic quantisation of a matrix (Badri & Shaji 2023, mobiusml.github.io/hqq_blog).

    Zeros are not integer codes: a weight of exactly zero is dequantised to almost zero, so a pruned
    matrix needs its mask again after ``dequantise``.

    Args:
        weight: fp32, ``(rows, columns)``.
        bits: 2 to 8.
        group_size: Columns that share a scale and a zero; the last group may be shorter.

    Raises:
        TrialFailure: The weight, a scale or a zero is not finite (``not_finite``).
    """
    import_neural_compressor()
    refuse_not_finite(weight, "a weight before quantisation")
    weight = weight.detach().float()
    group_size = min(group_size, weight.shape[1])
    whole = weight.shape[1] // group_size * group_size
    parts = [_quantise(weight[:, :whole], group_size, bits)]
    if whole < weight.shape[1]:
        parts.append(_quantise(weight[:, whole:], weight.shape[1] - whole, bits))
    codes, scales, zeros = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    refuse_not_finite(scales, "a scale after quantisation")
    refuse_not_finite(zeros, "a zero after quantisation")
    return QuantisedWeight(codes, scales, bits, group_size, zeros)


def _quantise(
    weight: torch.Tensor, group_size: int, bits: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, scales and zeros of a matrix whose columns are a multiple of the group."""
    from neural_compressor.torch.algorithms.weight_only.hqq.config import QTensorConfig
    from neural_compressor.torch.algorithms.weight_only.hqq.core import HQQTensorHandle

    class AnyBits(HQQTensorHandle):  # type: ignore[misc]
        # The library's list has what it can pack; nothing is packed here.
        SUPPORTED_BITS = range(2, 9)

    rows = len(weight)
    groups = weight.reshape(-1, group_size)
    # It always groups along the first axis: one column here is one of our groups.
    config = QTensorConfig(nbits=bits, group_size=-1, pack=False)
    # The solver collects garbage twice, which takes 0.3 s where all objects are examined.
    gc.freeze()
    try:
        solved = AnyBits.quantize(groups.T.contiguous(), config)
    finally:
        gc.unfreeze()
    half = 1 << (bits - 1)
    scales, zeros = solved.scale.T.half(), (solved.zero.T - half).half()
    # Rounded again with the scales and zeros in fp16.
    codes = torch.round(groups / scales.float() + zeros.float()).clamp(-half, half - 1)
    return codes.to(torch.int8).view(rows, -1), scales.view(rows, -1), zeros.view(rows, -1)
