"""Weight-only quantisation: neural-compressor's round-to-nearest, as codes and scales."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from objectives.failures import TrialFailure


@dataclass(frozen=True)
class QuantisedWeight:
    """A matrix as integers and scales.

    ``weight[r, c] = (codes[r, c] - zeros[r, group of c]) * scales[r, group of c]``.

    Args:
        codes: int8, ``(rows, columns)``, from ``-2**(bits-1)`` to ``2**(bits-1) - 1``.
        scales: ``(rows, groups)``; fp16 for weight-only, fp32 for static int8.
        bits: Bits that a code needs.
        group_size: Columns that share a scale; the last group may be shorter.
        zeros: fp16, ``(rows, groups)``: the codes, not always whole, that stand for a weight of
            zero. None where that is code 0, so that pruned weights stay exactly zero.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int
    group_size: int
    zeros: torch.Tensor | None = None


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
    refuse_not_finite(weight, "a weight before quantisation")
    group_size = min(group_size, weight.shape[1])
    # The weight is overwritten with its codes, hence the clone.
    codes, scales, _ = quant_tensor(
        weight.detach().clone(), bits=bits, group_size=group_size, scheme="sym", return_int=True
    )
    scales = scales.reshape(weight.shape[0], -1).to(torch.float16)
    refuse_not_finite(scales, "a scale after quantisation")
    return QuantisedWeight(codes.to(torch.int8), scales, bits, group_size)


def dequantise(weight: QuantisedWeight) -> torch.Tensor:
    """The fp32 matrix that codes, zeros and scales stand for, ``(rows, columns)``."""
    codes = weight.codes.float()
    if weight.zeros is not None:
        codes = codes - _by_column(weight.zeros, weight)
    return codes * _by_column(weight.scales, weight)


def refuse_not_finite(tensor: torch.Tensor, what: str) -> None:
    """Check that all numbers are finite.

    Args:
        tensor: Any shape.
        what: What it is, for the message.

    Raises:
        TrialFailure: ``not_finite``.
    """
    if not torch.isfinite(tensor).all():
        raise TrialFailure("not_finite", f"{what} was not finite")


def quiet_neural_compressor() -> None:
    """Keep its log, dozens of lines a call, to errors."""
    logging.getLogger("neural_compressor").setLevel(logging.ERROR)


def _by_column(of_groups: torch.Tensor, weight: QuantisedWeight) -> torch.Tensor:
    """Repeat ``(rows, groups)`` for each column: fp32, ``(rows, columns)``."""
    columns = weight.codes.shape[1]
    return of_groups.float().repeat_interleave(weight.group_size, dim=1)[:, :columns]
