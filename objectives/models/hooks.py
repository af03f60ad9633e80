"""The linear layers of a model, and hooks on their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

InputHook = Callable[[str, torch.Tensor], None]
"""Called with the name of a layer and its input."""


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers by name, a head that is tied to an embedding included."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


@contextmanager
def hook_inputs(layers: Mapping[str, nn.Module], hook: InputHook) -> Iterator[None]:
    """Inside the block, call ``hook(name, input)`` before each call of a layer."""

    def pre_hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, arguments: hook(name, arguments[0])

    handles = [layer.register_forward_pre_hook(pre_hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
