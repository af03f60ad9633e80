"""Quantisation-aware training: the forward pass uses weights as they will be stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle


@contextmanager
def fake_quantised(model: nn.Module, *, bits: int, group_size: int) -> Iterator[None]:
    """Let linear and embedding layers compute with weights rounded as by ``round_to_nearest``.

    The gradient passes straight through the rounding (Bengio et al. 2013, arXiv 1308.3432, section
    4) to the ordinary parameters. These are replaced only during a layer's call, so optimisers and
    checkpoints see them unchanged, and tied weights stay tied.
    """
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                for hook in _exchange_weight(module, bits, group_size):
                    hooks.enter_context(hook)
        yield


def _exchange_weight(module: nn.Module, bits: int, group_size: int) -> list[RemovableHandle]:
    ordinary: list[Any] = []
    # Assigned directly, as ``nn.Module`` accepts no tensor as a parameter.
    parameters: dict[str, Any] = module._parameters

    def enter(*_: Any) -> None:
        ordinary.append(parameters["weight"])
        parameters["weight"] = _on_grid(parameters["weight"], bits, group_size)

    def leave(*_: Any) -> None:
        parameters["weight"] = ordinary.pop()

    return [
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, always_call=True),
    ]


def _on_grid(weight: torch.Tensor, bits: int, group_size: int) -> torch.Tensor:
    """Equal to ``dequantise(round_to_nearest(weight))``, with the gradient of the weight.

    A separate implementation, as it runs for each layer at each step: neural-compressor's takes
    twice as long, and the check of its result would make a GPU wait.
    """
    rows, columns = weight.shape
    group_size = min(group_size, columns)
    detached = weight.detach().float()
    groups = functional.pad(detached, (0, -columns % group_size)).view(rows, -1, group_size)
    scales = groups.abs().amax(-1, keepdim=True) / ((1 << (bits - 1)) - 1)
    codes = torch.round(groups / torch.where(scales == 0, 1.0, scales))
    rounded = (codes * scales.half().float()).view(rows, -1)[:, :columns]
    return rounded + (weight - weight.detach())
