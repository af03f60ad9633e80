"""The quantisation methods by name.

A method is a module of this package with a function ``quantise`` and a line in ``METHODS``; its
name and bits are a member of ``spaces.cost.compression.Quantisation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import torch
from torch import nn

from objectives.compression.quantise import gptq, half, hqq, rtn, smooth_int8, static_int8
from objectives.compression.quantise.weights import StoredWeight
from objectives.data.batches import Batch


class Quantise(Protocol):
    """The function ``quantise`` of a method."""

    def __call__(
        self,
        model: nn.Module,
        names: list[str],
        batches: list[Batch],
        /,
        *,
        bits: int,
        group_size: int,
    ) -> Mapping[str, StoredWeight]:
        """Quantise weights of a model, which stays unchanged.

        Args:
            model: The model, in evaluation mode, on the CPU.
            names: Keys of the weights in its ``state_dict``: all linear layers, or all embeddings.
            batches: Calibration inputs of one shape.
            bits: Bits of a weight.
            group_size: Columns that share a scale, where the method has groups.

        Raises:
            TrialFailure: A weight or a result cannot be used.
        """
        ...


METHODS: dict[str, Quantise] = {
    "bf16": partial(half.quantise, dtype=torch.bfloat16),
    "fp16": partial(half.quantise, dtype=torch.float16),
    "rtn": rtn.quantise,
    "gptq": gptq.quantise,
    "hqq": hqq.quantise,
    "static": static_int8.quantise,
    "smooth": smooth_int8.quantise,
}
"""How linear layers are quantised, by ``Quantisation.method``. Embeddings are converted to the same
half-precision type, or rounded to nearest."""
