"""What the forward pass of a model executes, in its order, without weights or data.

A model on torch's meta device has shapes and no values, so that a forward pass takes milliseconds
and no memory, whatever the size of the model.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from objectives.models.forward import without_cache

TOKENS = 7
"""Tokens of the traced sequence."""


@dataclass(frozen=True, slots=True)
class Product:
    """The product with the matrix of a layer.

    Args:
        name: The layer's.
        rows: Rows of its input: how often it is applied for one sequence.
    """

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention.

    Args:
        value_offset: Where the values begin in the memory that they are a view of, in elements; of
            a fused projection, this tells the order of its rows.
    """

    heads: int
    head_width: int
    value_offset: int


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A normalisation, by the name of its module."""

    name: str


Event = Product | Attention | Normalisation


def on_meta_device(config: Any, auto_class: Any) -> nn.Module:
    """A model of a configuration of transformers, without weights.

    Args:
        config: Of any encoder, decoder or encoder-decoder; it stays unchanged.
        auto_class: Class of transformers that builds it, such as
            ``AutoModelForSequenceClassification``, or its own class.

    Raises:
        ValueError: transformers cannot build it.
    """
    config = copy.deepcopy(config)
    config._attn_implementation = "sdpa"
    config.architectures = config.architectures or []
    build = auto_class.from_config if hasattr(auto_class, "from_config") else auto_class
    with torch.device("meta"):
        model: nn.Module = build(config).eval()
        return with_linear_layers(model)


def with_linear_layers(model: nn.Module) -> nn.Module:
    """Replace the layers of GPT-2 that store their matrix as ``(in, out)`` by ``nn.Linear``, whose
    matrix is ``(out, in)``, in place: pruning and quantisation know no other."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
            linear = nn.Linear(inputs, outputs, device="meta")
            linear.weight = nn.Parameter(module.weight.detach().T.contiguous())
            linear.bias = module.bias
            model.set_submodule(name, linear)
    return model


def is_normalisation(module: nn.Module) -> bool:
    """Whether a module is one of the many normalisations of transformers."""
    return "norm" in type(module).__name__.lower() and not any(module.children())


def trace(model: nn.Module, inputs: Mapping[str, torch.Tensor] | None = None) -> list[Event]:
    """The products, attentions and normalisations of one sequence, in their order.

    Args:
        model: On the meta device.
        inputs: Arguments of a forward pass for one sequence, on the meta device; by default tokens
            or an image.
    """
    events: list[Event] = []
    # Where a forward pass fails, torch logs a traceback beside the error.
    log = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled, log.disabled = log.disabled, True
    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(setattr, log, "disabled", was_disabled)
        for name, module in model.named_modules():
            hook = _hook(events, name, module)
            if hook is not None:
                hooks.enter_context(module.register_forward_hook(hook))
        # transformers looks at the values of masks, but not of fake tensors.
        hooks.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        hooks.enter_context(torch.device("meta"))
        hooks.enter_context(_Attentions(events))
        cache = {} if _reads_images(model) else without_cache(model)
        model(**(inputs or _inputs(model)), **cache)
    return events


def _hook(events: list[Event], name: str, module: nn.Module) -> Callable[..., None] | None:
    if isinstance(module, nn.Linear):
        inputs = module.in_features
        return lambda _, arguments, __: events.append(Product(name, arguments[0].numel() // inputs))
    if isinstance(module, nn.Conv2d):
        outputs = module.out_channels
        return lambda _, __, output: events.append(Product(name, output.numel() // outputs))
    if is_normalisation(module):
        return lambda *_: events.append(Normalisation(name))
    return None


def _reads_images(model: Any) -> bool:
    return bool(model.main_input_name == "pixel_values")


def _inputs(model: Any) -> dict[str, torch.Tensor]:
    """One sequence, or one image."""
    config = model.config
    if _reads_images(model):
        height, width = _pair(config.image_size)
        return {"pixel_values": torch.empty(1, config.num_channels, height, width)}
    tokens = torch.zeros(1, TOKENS, dtype=torch.long)
    if config.is_encoder_decoder:
        return {"input_ids": tokens, "decoder_input_ids": tokens}
    return {"input_ids": tokens}


def _pair(size: Any) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)


class _Attentions(TorchFunctionMode):
    """Records every attention inside a block."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self._events = events

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            query, _, value = arguments[:3]
            heads, head_width = query.shape[1], query.shape[-1]
            self._events.append(Attention(heads, head_width, value.storage_offset()))
        return function(*arguments, **(named or {}))
