"""Weight-only quantisation: neural-compressor's round-to-nearest, as codes and scales."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from objectives.failures import TrialFailure


@dataclass(frozen=True)
class QuantisedWeight:
    """A matrix as integers and scales: ``weight[r, c] = codes[r, c] * scales[r, group of c]``.

    Args:
        codes: int8, ``(rows, columns)``.
        scales: ``(rows, groups)``; fp16 for weight-only, fp32 for static int8.
        bits: Bits that a code needs.
        group_size: Columns that share a scale; the last group may be shorter.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int
    group_size: int


def round_to_nearest(weight: torch.Tensor, *, bits: int, group_size: int) -> QuantisedWeight:
    """Quantise a matrix symmetrically to the nearest code, so that zero stays exactly zero.

    Args:
        weight: fp32, ``(rows, columns)``.
        bits: 2 to 8.
        group_size: Columns that share a scale.

    Raises:
        TrialFailure: The weight or what came back is not finite (``not_finite``).
    """
    quiet_neural_compressor()
    from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor

    # An infinite weight quantises without an error.
    if not torch.isfinite(weight).all():
        raise TrialFailure("not_finite", "a weight was not finite before quantisation")
    group_size = min(group_size, weight.shape[1])
    # The weight is overwritten with its codes, hence the clone.
    codes, scales, _ = quant_tensor(
        weight.detach().clone(), bits=bits, group_size=group_size, scheme="sym", return_int=True
    )
    scales = scales.reshape(weight.shape[0], -1).to(torch.float16)
    if not torch.isfinite(scales).all():
        raise TrialFailure("not_finite", "a scale was not finite after quantisation")
    return QuantisedWeight(codes.to(torch.int8), scales, bits, group_size)


def dequantise(weight: QuantisedWeight) -> torch.Tensor:
    """The fp32 matrix that codes and scales stand for, ``(rows, columns)``."""
    columns = weight.codes.shape[1]
    scales = weight.scales.float().repeat_interleave(weight.group_size, dim=1)[:, :columns]
    return weight.codes.float() * scales


def quiet_neural_compressor() -> None:
    """Keep its log, dozens of lines a call, to errors."""
    logging.getLogger("neural_compressor").setLevel(logging.ERROR)
