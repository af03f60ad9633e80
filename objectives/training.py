"""The training loop: one for pre-training, decay and fine-tuning, resumable to the step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from objectives.failures import TrialFailure
from objectives.locks import Lane
from objectives.schedule import LearningRate, matrix_scale

LONGEST_CURVE = 400
EXPLOSION = 2.0
"""A recent mean loss beyond this multiple of the first loss counts as exploding."""
RECENT = 10
NARROWEST_BF16 = 128

STEP_LOG = "TLC_STEP_LOG"
"""Environment variable: a file that gets one line per optimiser step, as an independent witness."""


class TrainingFailure(TrialFailure):
    """Training that cannot go on: ``not_finite`` or ``diverged``."""


@dataclass(frozen=True, slots=True)
class Optimisation:
    """How a path is optimised.

    Args:
        peak: Learning rate at the base width.
        rate: Its share at each step.
        weight_decay: Decoupled decay of the matrices (Loshchilov & Hutter 2019).
        gradient_clip: Largest norm of the gradient.
        precision: Of the forward and backward pass: ``fp32``, or ``bf16`` by autocast.
    """

    peak: float
    rate: LearningRate
    weight_decay: float
    gradient_clip: float
    precision: str = "fp32"


def precision_for(width: int) -> str:
    """The precision in which a model of a width trains fastest on this machine.

    bf16 on GPUs that have it, and on CPUs that have its instructions from a width on at which
    converting costs less than it saves (measured: 0.9 times the speed at width 64, 1.3 at 128,
    1.8 at 256).
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 and width >= NARROWEST_BF16 else "fp32"


@dataclass
class Progress:
    """Where a path is.

    Args:
        step: Steps done on this path.
        seconds: Seconds that they took, whoever took them.
        curve: ``[step, mean loss]`` along the path.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)


def make_optimizer(model: nn.Module, width: int, settings: Optimisation) -> torch.optim.AdamW:
    """AdamW with the width rule: matrices apart from vectors and embeddings."""
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


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[nn.Module, int], torch.Tensor],
    progress: Progress,
    *,
    to_step: int,
    settings: Optimisation,
    seed: int,
    name: str,
    checkpoint_seconds: float,
    checkpoint: Callable[[Progress], None],
) -> None:
    """Train a path from where it is to a step, in place.

    Data order, masking and dropout depend on seed and step alone, so a resumed run computes what
    the uninterrupted one would have, bit for bit on one machine.

    Args:
        model: The model, updated in place.
        optimizer: Its optimiser, from ``make_optimizer``.
        loss_at: Loss of the model on the batch of a step.
        progress: Where the path is; updated in place.
        to_step: Where to stop.
        settings: Learning rate, decay and clipping.
        seed: Seed of dropout.
        name: Name of the path, for the step log.
        checkpoint_seconds: Longest training between two calls of ``checkpoint``.
        checkpoint: Called with the progress between two steps; not called at the end.

    Raises:
        TrainingFailure: The loss or the gradient is not finite, or the loss explodes.
    """
    lane = Lane()
    device = next(model.parameters()).device
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"
    )
    recent: list[float] = []
    first_loss = progress.curve[0][1] if progress.curve else None
    unsaved_seconds = 0.0
    model.train()
    while progress.step < to_step:
        with lane.training():
            started = time.perf_counter()
            torch.manual_seed(hash((seed, progress.step)) & 0x7FFFFFFFFFFFFFFF)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * settings.rate(progress.step)
            with autocast:
                loss = loss_at(model, progress.step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            value = loss.item()
            _check(value, float(norm), progress.step)
            optimizer.step()
            elapsed = time.perf_counter() - started
        progress.step += 1
        progress.seconds += elapsed
        unsaved_seconds += elapsed
        _log_step(name, progress.step)
        recent.append(value)
        first_loss = first_loss if first_loss is not None else value
        if len(recent) == RECENT or progress.step == to_step:
            mean = sum(recent) / len(recent)
            _check_explosion(mean, first_loss, progress.step)
            progress.curve.append((progress.step, mean))
            recent.clear()
            if len(progress.curve) > LONGEST_CURVE:
                del progress.curve[1::2]
        if unsaved_seconds >= checkpoint_seconds and progress.step < to_step:
            checkpoint(progress)
            unsaved_seconds = 0.0


def _check(loss: float, norm: float, step: int) -> None:
    if not math.isfinite(loss):
        raise TrainingFailure("not_finite", f"the loss was {loss} at step {step}")
    if not math.isfinite(norm):
        raise TrainingFailure("not_finite", f"the gradient's norm was {norm} at step {step}")


def _check_explosion(mean: float, first: float, step: int) -> None:
    if mean > EXPLOSION * max(first, 1.0):
        raise TrainingFailure(
            "diverged", f"the loss rose from {first:.3g} to {mean:.3g} by step {step}"
        )


def _log_step(name: str, step: int) -> None:
    log = os.environ.get(STEP_LOG)
    if log:
        with Path(log).open("a") as file:
            file.write(f"{name} {step} {os.getpid()}\n")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors, for safetensors."""
    return {
        f"{index}.{name}": tensor
        for index, parameter in enumerate(_parameters(optimizer))
        for name, tensor in optimizer.state[parameter].items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave."""
    parameters = list(_parameters(optimizer))
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        optimizer.state[parameters[int(index)]][name] = tensor


def _parameters(optimizer: torch.optim.Optimizer) -> Iterable[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
