"""Forward passes: hooks on the inputs of layers, and models with positional inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from objectives.store import heartbeat


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers by name, a head that is tied to an embedding included."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def vocabulary_logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits ``(positions, vocabulary)`` of a masked language model from its encoder's states
    ``(positions, width)``."""
    head = model.lm_head if hasattr(model, "lm_head") else nn.Sequential(model.head, model.decoder)
    outputs: torch.Tensor = head(hidden)
    return outputs


@contextmanager
def hook_inputs(
    layers: Mapping[str, nn.Module], hook: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Inside the block, call ``hook(name, input)`` before each call of a layer, with heartbeats."""

    def pre_hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def call(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            heartbeat.beat("calibrating")
            hook(name, arguments[0])

        return call

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_pre_hook(pre_hook(name)))
        yield


@contextmanager
def layer_heartbeats(model: nn.Module) -> Iterator[None]:
    """Inside the block, send a heartbeat after each call of an innermost module of a model."""
    with ExitStack() as hooks:
        for module in model.modules():
            if next(module.children(), None) is None:
                hooks.enter_context(module.register_forward_hook(_beat))
        yield


def _beat(*_: Any) -> None:
    heartbeat.beat()


@contextmanager
def hook_states(
    layers: Mapping[str, nn.Module], hook: Callable[[str, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Inside the block, call ``hook(name, entering, leaving)`` with the hidden states before and
    after each call of a Transformer layer, with heartbeats."""

    def after(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def call(_: nn.Module, arguments: tuple[Any, ...], named: Any, output: Any) -> None:
            heartbeat.beat("calibrating")
            entering = arguments[0] if arguments else named["hidden_states"]
            hook(name, entering, output[0] if isinstance(output, tuple) else output)

        return call

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(after(name), with_kwargs=True))
        yield


def without_cache(model: nn.Module) -> dict[str, bool]:
    """The argument with which a forward pass keeps no keys and values; empty for a model that has
    no such argument."""
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {"use_cache": False} if takes_any or "use_cache" in parameters else {}


class PositionalLogits(nn.Module):
    """A model that takes the arguments ``names`` by position, as ``torch.export`` needs it."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.model = model
        self._names = tuple(names)
        self._without_cache = without_cache(model)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Logits of inputs: ``(batch, classes)``, or ``(batch, sequence, vocabulary)``."""
        arguments = dict(zip(self._names, tensors, strict=True))
        logits: torch.Tensor = self.model(**arguments, **self._without_cache).logits
        return logits
