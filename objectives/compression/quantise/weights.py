"""Quantised weights: what every method gives and the model file stores."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir

import torch

from objectives.failures import TrialFailure


@dataclass(frozen=True)
class QuantisedWeight:
    """A matrix as integers and scales.

    ``weight[r, c] = (codes[r, c] - zeros[r, group of c]) * scales[r, group of c]``.

    Args:
        codes: int8, ``(rows, columns)``, from ``-2**(bits-1)`` to ``2**(bits-1) - 1``.
        scales: ``(rows, groups)``; fp16 for weight-only, fp32 for static int8.
        bits: Bits of a code.
        group_size: Columns that share a scale; the last group may be shorter.
        zeros: fp16, ``(rows, groups)``: the codes, not always integers, of a weight of zero. None
            where that is code 0, so that pruned weights stay exactly zero.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int
    group_size: int
    zeros: torch.Tensor | None = None


@dataclass(frozen=True)
class StaticInt8Weight:
    """The weight of a linear layer that computes in int8, and the range of its input.

    Args:
        weight: One scale a row.
        input_scale: Step between two input codes.
        input_zero_point: Code of an input of zero, 0 to 255.
        smoothing: Divisors of the input before it is quantised, fp32, ``(columns,)``; ``weight`` is
            multiplied by them. None for plain inputs.
    """

    weight: QuantisedWeight
    input_scale: float
    input_zero_point: int
    smoothing: torch.Tensor | None = None


StoredWeight = torch.Tensor | QuantisedWeight | StaticInt8Weight


def on_cpu(weight: StoredWeight) -> StoredWeight:
    """The same weight in the memory of the CPU."""
    if isinstance(weight, torch.Tensor):
        return weight.cpu()
    if isinstance(weight, StaticInt8Weight):
        return weight  # It is made there.
    zeros = None if weight.zeros is None else weight.zeros.cpu()
    return replace(weight, codes=weight.codes.cpu(), scales=weight.scales.cpu(), zeros=zeros)


def dequantise(weight: QuantisedWeight) -> torch.Tensor:
    """The fp32 matrix of codes, zeros and scales, ``(rows, columns)``."""
    codes = weight.codes.float()
    if weight.zeros is not None:
        codes = codes - _by_column(weight.zeros, weight)
    return codes * _by_column(weight.scales, weight)


def refuse_not_finite(tensor: torch.Tensor, name: str) -> None:
    """Raise ``TrialFailure`` (``not_finite``) with the name where a number is not finite."""
    if not torch.isfinite(tensor).all():
        raise TrialFailure("not_finite", f"{name} was not finite")


def import_neural_compressor() -> None:
    """Import it before its parts are used: quiet, and without a folder where the user works.

    It logs dozens of lines a call, and makes its workspace in the current folder unless told where.
    """
    logging.getLogger("neural_compressor").setLevel(logging.ERROR)
    if "neural_compressor" not in sys.modules:
        from neural_compressor.common import set_workspace

        set_workspace(str(Path(gettempdir()) / "neural-compressor"))


def _by_column(of_groups: torch.Tensor, weight: QuantisedWeight) -> torch.Tensor:
    """Repeat ``(rows, groups)`` for each column: fp32, ``(rows, columns)``."""
    columns = weight.codes.shape[1]
    return of_groups.float().repeat_interleave(weight.group_size, dim=1)[:, :columns]
