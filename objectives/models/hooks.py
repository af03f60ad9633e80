"""Watching what goes into the linear layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

InputHook = Callable[[str, torch.Tensor], None]


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers by name, a head that is tied to an embedding included."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


@contextmanager
def hook_inputs(layers: Mapping[str, nn.Module], see: InputHook) -> Iterator[None]:
    """Meanwhile, call ``see(name, input)`` before each call of a layer."""

    def watch(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            see(name, arguments[0])

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
