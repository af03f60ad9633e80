"""The optimiser: AdamW, its learning rates, and the schedules that they follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from objectives.models.parametrisation import WeightScale
from spaces.cost.units import Precision

EPSILON = 1e-8
"""AdamW's, of a model of the base width and depth."""

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


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How a path is optimised.

    Args:
        peak: Highest learning rate, of a model of the base width and depth.
        schedule: The fraction of it at each step.
        weight_decay: Decoupled decay of its matrices (Loshchilov & Hutter 2019).
        gradient_clip: Largest norm of the gradient.
        precision: Of the forward and backward pass: ``fp32``, or ``bf16`` by autocast.
        keeps_zeros: Whether weights of linear layers that are exactly zero, as pruning leaves
            them, stay zero: they get no gradient.
    """

    peak: float
    schedule: LearningRateSchedule
    weight_decay: float
    gradient_clip: float
    precision: Precision = "fp32"
    keeps_zeros: bool = False


def make_optimizer(
    model: nn.Module, scales: Mapping[str, WeightScale], settings: OptimizerSettings
) -> torch.optim.AdamW:
    """AdamW with a group for all weights of equal settings.

    Args:
        model: The model, or what pruning left of it.
        scales: What the settings are multiplied by, for each of its weights by name.

    ``peak`` of a group is what the schedule multiplies. The second moment is averaged over 50 steps
    (RoBERTa's beta of 0.98): with small batches, CompleteP's 0.95 is noisier.
    """
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale = scales[name]
        key = (scale.learning_rate, scale.weight_decay, scale.epsilon)
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": settings.peak * learning_rate,
                "weight_decay": settings.weight_decay * weight_decay,
                "eps": EPSILON * epsilon,
            }
            for (learning_rate, weight_decay, epsilon), parameters in groups.items()
        ],
        lr=settings.peak,
        betas=(0.9, 0.98),
        fused=True,
    )
