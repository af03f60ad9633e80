"""The optimiser: AdamW with a learning rate and a weight decay for each kind of parameter."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from objectives.training.schedule import LearningRateSchedule, matrix_scale


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How a path is optimised.

    Args:
        peak: Highest learning rate, at the base width.
        schedule: The fraction of it at each step.
        weight_decay: Decoupled decay of the matrices (Loshchilov & Hutter 2019).
        gradient_clip: Largest norm of the gradient.
        precision: Of the forward and backward pass: ``fp32``, or ``bf16`` by autocast.
        keeps_zeros: Whether weights of linear layers that are exactly zero, as pruning leaves
            them, stay zero: they get no gradient.
    """

    peak: float
    schedule: LearningRateSchedule
    weight_decay: float
    gradient_clip: float
    precision: str = "fp32"
    keeps_zeros: bool = False


def fastest_precision() -> str:
    """The precision in which models train fastest on this machine.

    bf16 wherever there are instructions for it. Measured on a CPU with ``training_kernels``, at
    widths 32, 64, 128 and 256: 1.1, 1.5, 2.0 and 2.9 times the speed of fp32, the same losses.
    """
    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"


def make_optimizer(model: nn.Module, width: int, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW with two groups: matrices, and vectors with embeddings.

    Matrices are decayed and their learning rate is scaled with the width; the others keep the peak
    and are not decayed. ``peak`` of a group is what the schedule multiplies.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    for parameter in model.parameters():
        is_matrix = parameter.ndim == 2 and id(parameter) not in embeddings
        (matrices if is_matrix else others).append(parameter)
    matrix_peak = settings.peak * matrix_scale(width)
    return torch.optim.AdamW(
        [
            {"params": matrices, "peak": matrix_peak, "weight_decay": settings.weight_decay},
            {"params": others, "peak": settings.peak, "weight_decay": 0.0},
        ],
        lr=settings.peak,
        betas=(0.9, 0.98),
        fused=True,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors, for safetensors."""
    return {
        f"{index}.{name}": tensor
        for index, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """Load what ``optimizer_tensors`` returned."""
    state: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state[int(index)][name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
