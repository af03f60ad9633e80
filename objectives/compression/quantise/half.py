"""Half-precision floats: bf16 and fp16."""

from __future__ import annotations

import torch
from torch import nn

from objectives.data.batches import Batch


def quantise(
    model: nn.Module, names: list[str], _: list[Batch], *, dtype: torch.dtype, **__: int
) -> dict[str, torch.Tensor]:
    """Convert weights to a half-precision type."""
    return {name: model.get_parameter(name).detach().to(dtype) for name in names}
