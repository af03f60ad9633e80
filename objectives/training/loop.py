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
from torch.distributed.tensor import DTensor

from objectives.failures import TrialFailure
from objectives.models.hooks import linear_layers
from objectives.store import heartbeat
from objectives.store.locks import MeasurementLock
from objectives.training.kernels import training_kernels
from objectives.training.schedule import LearningRateSchedule, matrix_scale

LONGEST_CURVE = 400
EXPLOSION = 2.0
"""A recent mean loss beyond this multiple of the first loss counts as exploding."""
RECENT = 10
"""Steps after which losses are read; between, a GPU is not waited for."""

STEP_LOG = "TLC_STEP_LOG"
"""Environment variable: a file that gets one line per optimiser step, as an independent witness."""


class TrainingFailure(TrialFailure):
    """Training that cannot go on: ``not_finite`` or ``diverged``."""


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How a path is optimised.

    Args:
        peak: Learning rate at the base width.
        schedule: The fraction of it at each step.
        weight_decay: Decoupled decay of the matrices (Loshchilov & Hutter 2019).
        gradient_clip: Largest norm of the gradient.
        precision: Of the forward and backward pass: ``fp32``, or ``bf16`` by autocast.
        keeps_zeros: Whether weights of linear layers that are exactly zero, which pruning made
            them, get no gradient.
    """

    peak: float
    schedule: LearningRateSchedule
    weight_decay: float
    gradient_clip: float
    precision: str = "fp32"
    keeps_zeros: bool = False


def precision_for(width: int) -> str:
    """The precision in which a model of a width trains fastest on this machine.

    bf16 wherever there are instructions for it. Measured on a CPU with ``training_kernels``, at
    widths 32, 64, 128 and 256: 1.1, 1.5, 2.0 and 2.9 times the speed of fp32, the same losses.
    """
    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"


@dataclass
class TrainingProgress:
    """Where a path is.

    Args:
        step: Steps done on this path.
        seconds: Seconds that they took, whoever took them.
        curve: ``[step, mean loss]`` along the path.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)


def make_optimizer(model: nn.Module, width: int, settings: OptimizerSettings) -> torch.optim.AdamW:
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
    progress: TrainingProgress,
    *,
    to_step: int,
    settings: OptimizerSettings,
    seed: int,
    name: str,
    checkpoint_seconds: float,
    checkpoint: Callable[[TrainingProgress], None],
) -> None:
    """Train a path from where it is to a step, in place.

    Data order, masking and dropout depend on seed and step alone, so a resumed run computes what
    the uninterrupted one would have: bit for bit on one machine's CPU; on a GPU up to the order in
    which the backward pass of attention adds.

    Losses and gradients are checked every ``RECENT`` steps and before each checkpoint, so a step
    that is not finite reaches none.

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
    measurement_lock = MeasurementLock()
    parameters = list(model.parameters())
    sparse = _sparse_weights(model, settings)
    recent: list[torch.Tensor] = []
    unsaved_seconds = 0.0
    model.train()
    with training_kernels(model, precision=settings.precision, to_step=to_step):
        while progress.step < to_step:
            with measurement_lock.training():
                started = time.perf_counter()
                _seed(parameters[0].device, hash((seed, progress.step)) & 0x7FFFFFFFFFFFFFFF)
                recent.append(
                    _step(model, parameters, optimizer, loss_at, progress.step, settings, sparse)
                )
                progress.step += 1
                if progress.step % RECENT == 0 or progress.step == to_step:
                    _extend_curve(progress, _read(recent, progress.step))
                    recent.clear()
                elapsed = time.perf_counter() - started
            progress.seconds += elapsed
            unsaved_seconds += elapsed
            _log_step(name, progress.step)
            heartbeat.beat("training")
            if unsaved_seconds >= checkpoint_seconds and progress.step < to_step:
                _read(recent, progress.step)
                checkpoint(progress)
                unsaved_seconds = 0.0


def train_follower(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[nn.Module, int], torch.Tensor],
    steps: Iterable[int],
    *,
    to_step: int,
    settings: OptimizerSettings,
    seed: int,
) -> None:
    """Do the steps that another worker's ``train`` does; that one checks, logs and stores.

    Args:
        model: The model, or a shard of it, updated in place.
        optimizer: Its optimiser, from ``make_optimizer``.
        loss_at: Loss of the model on this worker's part of the batch of a step.
        steps: The steps, each when it is to be done.
        to_step: Where the path stops.
        settings: Learning rate, decay and clipping.
        seed: Seed of dropout.
    """
    parameters = list(model.parameters())
    sparse = _sparse_weights(model, settings)
    model.train()
    with training_kernels(model, precision=settings.precision, to_step=to_step):
        for step in steps:
            _seed(parameters[0].device, hash((seed, step)) & 0x7FFFFFFFFFFFFFFF)
            _step(model, parameters, optimizer, loss_at, step, settings, sparse)


def _step(
    model: nn.Module,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[nn.Module, int], torch.Tensor],
    step: int,
    settings: OptimizerSettings,
    sparse: list[torch.Tensor],
) -> torch.Tensor:
    """One optimiser step.

    Returns:
        The loss and the norm of the gradient, ``(2,)``, on the device.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * settings.schedule(step)
    # Autocast keeps its copies of the weights until it ends, so it may not outlive a step.
    with torch.autocast(
        parameters[0].device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"
    ):
        loss = loss_at(model, step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for weight in sparse:
        if weight.grad is not None:
            weight.grad.mul_(weight.detach() != 0)
    norm = _clip(parameters, settings.gradient_clip)
    optimizer.step()
    return torch.stack((loss.detach(), norm))


def _sparse_weights(model: nn.Module, settings: OptimizerSettings) -> list[torch.Tensor]:
    """Weights whose zeros stay."""
    if not settings.keeps_zeros:
        return []
    return [layer.weight for layer in linear_layers(model).values()]


def _clip(parameters: list[nn.Parameter], largest: float) -> torch.Tensor:
    """Clip gradients, of which a worker may hold shards, by the norm of all; returns the norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def _seed(device: torch.device, seed: int) -> None:
    """Seed the device that trains.

    ``torch.manual_seed`` asks every kind of accelerator that there could be, which takes 0.3 ms.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _read(recent: list[torch.Tensor], step: int) -> list[float]:
    """Losses of the last steps, up to ``step``.

    Raises:
        TrainingFailure: One of them, or of their gradients, is not finite.
    """
    figures: list[list[float]] = torch.stack(recent).tolist() if recent else []
    for at, (loss, norm) in enumerate(figures, start=step - len(figures)):
        if not math.isfinite(loss):
            raise TrainingFailure("not_finite", f"the loss was {loss} at step {at}")
        if not math.isfinite(norm):
            raise TrainingFailure("not_finite", f"the gradient's norm was {norm} at step {at}")
    return [loss for loss, _ in figures]


def _extend_curve(progress: TrainingProgress, losses: list[float]) -> None:
    mean = sum(losses) / len(losses)
    curve = progress.curve
    _check_explosion(mean, curve[0][1] if curve else losses[0], progress.step)
    curve.append((progress.step, mean))
    if len(curve) > LONGEST_CURVE:
        del curve[1::2]


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
