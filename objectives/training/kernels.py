"""The fastest kernels for a training run: attention, dropout, and compilation where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MOST_PLAIN_POSITIONS = 258
"""Positions of a model (256 tokens and the two that RoBERTa never reads) up to which matrix
products beat the fused kernel in bf16 on a CPU; beyond, they would also keep ``tokens ** 2`` scores
for the backward pass."""

FEWEST_COMPILED_STEPS = 5_000
"""Steps that win back on a GPU what compilation takes: an estimate, 20 s at 4 ms saved a step."""

LANES = 4
"""Random numbers of 16 bits in one of 64."""


@contextmanager
def training_kernels(model: nn.Module, *, precision: str, to_step: int) -> Iterator[None]:
    """Train with the kernels that suit the model, its device and its precision meanwhile.

    Measured by ``benchmarks/training.py``. What is compiled depends on where the path stops and
    not on where it is, so a resumed run takes the same kernels.

    Args:
        model: The model, unchanged afterwards.
        precision: Of the forward and backward pass, ``fp32`` or ``bf16``.
        to_step: Where the run stops.
    """
    device = next(model.parameters()).device.type
    with ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(_swapped(_dropouts(model), lambda module: _Dropout(module.p)))
            if precision == "bf16" and _positions(model) <= MOST_PLAIN_POSITIONS:
                stack.enter_context(_plain_attention())
        elif device == "cuda" and to_step >= FEWEST_COMPILED_STEPS:
            stack.enter_context(compiled_layers(model))
        yield


@contextmanager
def compiled_layers(model: nn.Module) -> Iterator[None]:
    """Compile each repeated layer meanwhile, which is one graph for all of them.

    Regional compilation, as PyTorch's recipe of that name has it. On a CPU it does not pay: 8 to
    24 s, won back after a minute of pre-training, and never in fine-tuning.
    """
    # A worker trains many shapes, and dynamo gives a function up after a few recompilations.
    torch.compiler.reset()
    with _swapped(repeated_layers(model), lambda layer: torch.compile(layer.forward)):
        yield


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as two matrix products and a softmax, all in bf16.

    The fused kernel's backward pass in bf16 is written for machines with AMX: elsewhere it took six
    times as long at 64 tokens. The plain one computes in fp32 unless it is allowed not to.
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

    Args:
        share: What is dropped, rounded to a 65,536th.
    """

    def __init__(self, share: float) -> None:
        self._threshold = round(share * 2**16) - 2**15
        self._scale = 1.0 / (1.0 - share) if share < 1.0 else 0.0

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        words = torch.empty(-(-values.numel() // LANES), dtype=torch.int64)
        words.random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        # Compared straight into the type of the values: a mask of booleans is slow to multiply.
        kept = torch.empty(values.shape, dtype=values.dtype)
        torch.ge(bits, self._threshold, out=kept)
        return values * kept.mul_(self._scale)


@contextmanager
def _swapped(modules: list[Any], forward: Callable[[Any], Callable[..., Any]]) -> Iterator[None]:
    """Give modules another forward pass meanwhile; their names and states stay as they are."""
    for module in modules:
        module.forward = forward(module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _dropouts(model: nn.Module) -> list[nn.Dropout]:
    return [module for module in model.modules() if type(module) is nn.Dropout and module.p > 0]


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """The outermost layers that stand in lists."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in repeated_layers(child)]


def _positions(model: nn.Module) -> int:
    """Positions that transformers' text models have embeddings for; 0 for images."""
    config = getattr(model, "config", None)
    return int(getattr(config, "max_position_embeddings", 0))
