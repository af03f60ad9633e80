"""A model whose inputs are positional, as ``torch.export`` needs them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class PositionalLogits(nn.Module):
    """The logits of a model.

    Args:
        model: The model.
        names: Its arguments, in the order in which tensors are given.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.model = model
        self._names = tuple(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Logits of inputs: ``(batch, classes)``, or ``(batch, sequence, vocabulary)``."""
        arguments = dict(zip(self._names, tensors, strict=True))
        logits: torch.Tensor = self.model(**arguments, use_cache=False).logits
        return logits
