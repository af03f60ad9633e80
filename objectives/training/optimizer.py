"""The optimiser: AdamW, its learning rates, and the schedules that they follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

BASE_WIDTH = 128
"""Width for which the learning rate of a search file is given."""

LearningRateSchedule = Callable[[int], float]
"""The learning rate as a fraction of its peak, 0 to 1, at a step counted from 0."""


@dataclass(frozen=True, slots=True)
class WarmupStable:
    """Linear warm-up, then constant: independent of the budget, so all budgets share the path.

    The warm-up–stable–decay schedule of Hu et al. 2024 (arXiv 2404.06395), section 4.
    """

    warmup_steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        return min(1.0, (step + 1) / self.warmup_steps)


@dataclass(frozen=True, slots=True)
class Decay:
    """From the peak to zero as ``1 - sqrt(step / steps)``.

    The best of the decays that Hägele et al. 2024 (arXiv 2405.18392), section 4, compared.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        return 1.0 - math.sqrt((step + 1) / (self.steps + 1))


@dataclass(frozen=True, slots=True)
class WarmupDecay:
    """Linear warm-up over a tenth of the steps, then linear decay: fine-tuning as usual.

    The schedule of Devlin et al. 2019 (arXiv 1810.04805), appendix A.2 and A.3.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Fraction of the peak at a step counted from 0."""
        warmup = max(1, self.steps // 10)
        return min((step + 1) / warmup, (self.steps - step) / (self.steps - warmup + 1))


def matrix_scale(width: int) -> float:
    """Factor of the learning rate of weight matrices at ``width``.

    Adam's learning rate for hidden matrices goes with 1 / width (Yang et al. 2022, arXiv
    2203.03466, table 8); vectors and embeddings keep theirs.
    """
    return BASE_WIDTH / width


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
