"""The quantisation methods by name.

A method is a module of this package and a line in ``METHODS``; its name and bits are a member of
``spaces.cost.compression.Quantisation``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from objectives.compression.quantise import gptq, smooth_int8, static_int8
from objectives.compression.quantise.hqq import half_quadratic
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.symmetric import linear_scales
from objectives.compression.quantise.weights import StoredWeight
from objectives.data.batches import Batch
from objectives.store import heartbeat


class Quantise(Protocol):
    """How a method quantises."""

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
            batches: Calibration inputs of one shape, on its device.
            group_size: Columns that share a scale, where the method has groups.

        Raises:
            TrialFailure: A weight or a result cannot be used.
        """
        ...


def each_matrix(quantise: Callable[..., StoredWeight]) -> Quantise:
    """A method that calls ``quantise(weight, bits=, group_size=)`` and needs no inputs."""

    def quantise_model(
        model: nn.Module, names: list[str], _: list[Batch], **options: Any
    ) -> dict[str, StoredWeight]:
        quantised = {}
        for name in names:
            heartbeat.beat("compressing")
            quantised[name] = quantise(model.get_parameter(name).detach(), **options)
        return quantised

    return quantise_model


METHODS: dict[str, Quantise] = {
    "bf16": each_matrix(lambda weight, **_: weight.to(torch.bfloat16)),
    "fp16": each_matrix(lambda weight, **_: weight.to(torch.float16)),
    "rtn": each_matrix(partial(round_to_nearest, scales_of=linear_scales)),
    "gptq": gptq.quantise,
    "hqq": each_matrix(half_quadratic),
    "static": static_int8.quantise,
    "smooth": smooth_int8.quantise,
}
"""How linear layers are quantised, by ``Quantisation.method``."""

ROUND_EMBEDDINGS: Quantise = each_matrix(round_to_nearest)
"""How embeddings are quantised, but for those that are converted to a half-precision type."""
