"""Quantisation-aware training: the forward pass uses weights as they will be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from objectives.compression.quantise.hqq import half_quadratic
from objectives.compression.quantise.static_int8 import row_scales
from objectives.compression.quantise.symmetric import (
    ScalesOf,
    best_scales,
    in_groups,
    linear_scales,
    nearest_codes,
)
from objectives.compression.quantise.weights import dequantise
from spaces.cost.compression import Quantisation

Round = Callable[[torch.Tensor, int, int], torch.Tensor]
"""The nearest weights on a grid: of an fp32 matrix, the bits and the group size."""

GRIDS = {
    "rtn": "linear", "gptq": "linear", "hqq": "asymmetric", "static": "rows",
    "smooth": "rows",
}  # fmt: skip
"""The grid of linear layers by method; that of embeddings is the same for all."""


def grid_of(quantisation: Quantisation) -> str | None:
    """Name of the grid that linear layers are rounded to; None where weights are not rounded, as
    of mixed bits, which the trained model determines.

    Methods with one grid and equal bits train alike.
    """
    return GRIDS.get(quantisation.method)


@contextmanager
def fake_quantised(
    model: nn.Module, quantisation: Quantisation, *, group_size: int
) -> Iterator[None]:
    """Let linear and embedding layers compute with weights on the grid that a method stores.

    Scales, and HQQ's zeros, are found anew at each call, as the method finds them. Of GPTQ it is
    the grid without the compensation of errors, which needs the inputs of the layers; of static
    int8 and SmoothQuant it is that of the weights, without the rounding and smoothing of inputs,
    whose ranges are known only after training.

    The gradient passes straight through the rounding (Bengio et al. 2013, arXiv 1308.3432, section
    4) to the ordinary parameters. These are replaced only during a layer's call, so optimisers and
    checkpoints see them unchanged, and tied weights stay tied. The hooks are those of the whole
    block, so that layers may be compiled inside.
    """
    grid, bits = grid_of(quantisation), int(quantisation.bits)
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    of_embeddings = {id(embedding.weight) for embedding in embeddings}
    with ExitStack() as hooks:
        for module in model.modules():
            if grid is not None and isinstance(module, nn.Linear | nn.Embedding):
                # The matrix of a head that is tied to an embedding is stored as the embedding.
                name = "embedding" if id(module.weight) in of_embeddings else grid
                for hook in _exchange_weight(module, _ROUND[name], bits, group_size):
                    hooks.enter_context(hook)
        yield


def _exchange_weight(
    module: nn.Module, nearest: Round, bits: int, group_size: int
) -> list[RemovableHandle]:
    ordinary: list[Any] = []
    # Assigned directly, as ``nn.Module`` accepts no tensor as a parameter.
    parameters: dict[str, Any] = module._parameters

    def enter(*_: Any) -> None:
        weight = parameters["weight"]
        ordinary.append(weight)
        # In fp32, as after training: autocast would also refuse codes that are integers.
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            rounded = nearest(weight.detach().float(), bits, group_size)
        parameters["weight"] = rounded + (weight - weight.detach())

    def leave(*_: Any) -> None:
        parameters["weight"] = ordinary.pop()

    return [
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, always_call=True),
    ]


def _symmetric(
    weight: torch.Tensor, bits: int, group_size: int, scales_of: ScalesOf = best_scales
) -> torch.Tensor:
    """Equal to ``dequantise(round_to_nearest(weight))``, without checks that make a GPU wait."""
    rows, columns = weight.shape
    groups = in_groups(weight, min(group_size, columns))
    scales = scales_of(groups, bits)
    return (nearest_codes(groups, scales, bits) * scales).view(rows, -1)[:, :columns]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _asymmetric(weight: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    # Pruned weights are zero again after ``dequantise``.
    rounded = dequantise(half_quadratic(weight, bits=bits, group_size=group_size))
    return rounded * (weight != 0)


def _rows(weight: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    scales = row_scales(weight)
    return torch.round(weight / scales).clamp(-127, 127) * scales


_ROUND: dict[str, Round] = {
    "embedding": _symmetric,
    "linear": partial(_symmetric, scales_of=linear_scales),
    "asymmetric": _asymmetric,
    "rows": _rows,
}
