"""The fastest kernels for a training run: attention, dropout, and compilation where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from objectives.device import CPU, compiles, device_of
from spaces.cost.memory.training import MAX_PLAIN_POSITIONS

LANES = 4
"""16-bit random numbers in one of 64 bits."""


@contextmanager
def training_kernels(
    model: nn.Module, *, precision: str, steps: int, checkpointed: bool = False
) -> Iterator[None]:
    """Inside the block, train with the kernels that suit the model, its device and its precision.

    Measured by ``benchmarks/training.py``. Whether layers are compiled depends on the path and not
    on where it is, so a resumed run uses the same kernels.

    Args:
        model: The model, unchanged afterwards.
        precision: Of the forward and backward pass, ``fp32`` or ``bf16``.
        steps: Most steps that the path does with one set of kernels.
        checkpointed: Whether layers are computed again in the backward pass, where a model can.
    """
    device = device_of(model)
    with ExitStack() as stack:
        if checkpointed and getattr(model, "supports_gradient_checkpointing", False):
            stack.enter_context(_activation_checkpointing(model))
        if device == CPU:
            dropouts = [m for m in model.modules() if type(m) is nn.Dropout and m.p > 0]
            stack.enter_context(_with_forward(dropouts, lambda module: _Dropout(module.p)))
            # Models of images have no position embeddings of tokens.
            config = getattr(model, "config", None)
            positions = getattr(config, "max_position_embeddings", 0)
            if precision == "bf16" and positions <= MAX_PLAIN_POSITIONS:
                stack.enter_context(_plain_attention())
        if compiles(device, steps):
            stack.enter_context(compiled_layers(model))
        yield


@contextmanager
def compiled_layers(model: nn.Module) -> Iterator[None]:
    """Inside the block, compile each repeated layer: one graph for all of them.

    PyTorch's recipe for regional compilation.
    """
    # A process trains many shapes, and dynamo stops compiling a function after a few of them.
    torch.compiler.reset()
    with _with_forward(repeated_layers(model), lambda layer: torch.compile(layer.forward)):
        yield


@contextmanager
def _activation_checkpointing(model: Any) -> Iterator[None]:
    """Inside the block, keep only what enters each layer, and the state of random numbers."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as two matrix products and a softmax, all in bf16.

    The fused kernel's backward pass in bf16 is written for machines with AMX: elsewhere it took six
    times as long at 64 tokens. The plain one computes in fp32 unless reduced precision is allowed.
    """
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(allowed)


class _Dropout:
    """Dropout from 16 random bits an element; torch's takes four times as long on a CPU.

    The rate is rounded to a 65,536th.
    """

    def __init__(self, rate: float) -> None:
        self._threshold = round(rate * 2**16) - 2**15
        self._scale = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        words = torch.empty(-(-values.numel() // LANES), dtype=torch.int64)
        words.random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        # The mask has the type of the values: to multiply by booleans is slow.
        kept = torch.empty(values.shape, dtype=values.dtype)
        torch.ge(bits, self._threshold, out=kept)
        return values * kept.mul_(self._scale)


@contextmanager
def _with_forward(
    modules: list[Any], forward: Callable[[Any], Callable[..., Any]]
) -> Iterator[None]:
    """Inside the block, give modules another forward pass; names and states do not change."""
    for module in modules:
        module.forward = forward(module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """The outermost layers that are in a ``ModuleList``."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in repeated_layers(child)]
