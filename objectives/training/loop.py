"""The training loop: one for pre-training, decay and fine-tuning, resumable to the step."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from objectives.data.batches import BatchShard
from objectives.device import seed
from objectives.failures import TrialFailure
from objectives.models.forward import linear_layers
from objectives.store import heartbeat
from objectives.store.locks import MeasurementLock
from objectives.training.kernels import training_kernels
from objectives.training.path import TrainingProgress
from objectives.training.replica import Replica

MAX_CURVE_POINTS = 400
EXPLOSION_FACTOR = 2.0
"""A recent mean loss beyond this multiple of the first loss counts as diverged."""
READ_INTERVAL = 10
"""Steps after which losses are read; between, the CPU does not wait for a GPU."""

STEP_LOG = "TLC_STEP_LOG"
"""Environment variable: a file that gets one line per optimiser step, as an independent witness."""


class TrainingFailure(TrialFailure):
    """Training that cannot continue: ``not_finite`` or ``diverged``."""


def train(
    replica: Replica,
    progress: TrainingProgress,
    *,
    to_step: int,
    steps_at_once: int,
    name: str,
    checkpoint_seconds: Callable[[], float],
    checkpoint: Callable[[TrainingProgress], None],
) -> None:
    """Train a path from where it is to a step, in place.

    Data order, masking and dropout depend on seed and step alone, so a resumed run computes what
    the uninterrupted one would have: bit for bit on one machine's CPU; on a GPU up to the order in
    which the backward pass of attention adds.

    Losses and gradients are checked every ``READ_INTERVAL`` steps and before each checkpoint, so
    that no checkpoint has a step that is not finite.

    Args:
        replica: What is trained.
        progress: How far the path is trained; updated in place.
        to_step: Where to stop.
        steps_at_once: Most steps between two calls of this function for one path.
        name: Name of the path in the step log.
        checkpoint_seconds: Returns the longest training until the next call of ``checkpoint``.
        checkpoint: Called with the progress between two steps; not called at the end.

    Raises:
        TrainingFailure: The loss or the gradient is not finite, or the loss explodes.
    """
    lock = MeasurementLock()
    step = OptimizerStep(replica)
    unread: list[torch.Tensor] = []
    precision = replica.settings.precision
    replica.model.train()
    with training_kernels(
        replica.model,
        precision=precision,
        steps=steps_at_once,
        checkpointed=replica.division.checkpointed,
    ):
        while progress.step < to_step:
            with lock.training():
                started = time.perf_counter()
                unread.append(step(progress.step))
                progress.step += 1
                if progress.step % READ_INTERVAL == 0 or progress.step == to_step:
                    _extend_curve(progress, _read(unread, progress.step))
                    unread.clear()
            progress.spend(time.perf_counter() - started)
            _log_step(name, progress.step)
            heartbeat.beat("training")
            if progress.unsaved_seconds >= checkpoint_seconds() and progress.step < to_step:
                _read(unread, progress.step)
                checkpoint(progress)
                progress.unsaved_seconds = 0.0


def train_follower(replica: Replica, steps: Iterable[int], *, steps_at_once: int) -> None:
    """Do the steps that ``train`` does on rank 0, which checks, logs and stores.

    Args:
        replica: The replica of this rank.
        steps: The steps; each is taken when rank 0 begins it.
        steps_at_once: Most steps without an evaluation of the model.
    """
    do_step = OptimizerStep(replica)
    precision = replica.settings.precision
    replica.model.train()
    with training_kernels(
        replica.model,
        precision=precision,
        steps=steps_at_once,
        checkpointed=replica.division.checkpointed,
    ):
        for step in steps:
            do_step(step)


class OptimizerStep:
    """One step of the optimiser: forward and backward of each micro-batch, clip, update."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._parameters = list(replica.model.parameters())
        self._device = self._parameters[0].device
        layers = linear_layers(replica.model).values() if replica.settings.keeps_zeros else []
        self._pruned_weights = [layer.weight for layer in layers]

    def __call__(self, step: int) -> torch.Tensor:
        """Do a step.

        Returns:
            The loss and the norm of the gradient, ``(2,)``, on the device.
        """
        optimizer, settings = self._replica.optimizer, self._replica.settings
        seed(self._device, hash((self._replica.seed, step)) & 0x7FFFFFFFFFFFFFFF)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * settings.schedule(step)
        count = self._replica.division.micro_batches
        mean = torch.zeros((), device=self._device)
        for index in range(count):
            # Autocast keeps its copies of the weights until it ends, so it may not outlive a step.
            with torch.autocast(
                self._device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"
            ):
                part = BatchShard(index, count)
                loss = self._replica.loss_at(self._replica.model, step, part) / count
            loss.backward()  # type: ignore[no-untyped-call]
            mean += loss.detach()
        for weight in self._pruned_weights:
            if weight.grad is not None:
                weight.grad.mul_(weight.detach() != 0)
        norm = _clip(self._parameters, settings.gradient_clip)
        optimizer.step()
        # Here, so that they are not in memory with the activations of the next step.
        optimizer.zero_grad(set_to_none=True)
        return torch.stack((mean, norm))


def _clip(parameters: list[nn.Parameter], max_norm: float) -> torch.Tensor:
    """Clip gradients, which may be shards, by the norm of all of them; returns the norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def _read(unread: list[torch.Tensor], step: int) -> list[float]:
    """Losses of the last steps, up to ``step``.

    Raises:
        TrainingFailure: One of them, or of their gradients, is not finite.
    """
    figures: list[list[float]] = torch.stack(unread).tolist() if unread else []
    for at, (loss, norm) in enumerate(figures, start=step - len(figures)):
        if not math.isfinite(loss):
            raise TrainingFailure("not_finite", f"the loss was {loss} at step {at}")
        if not math.isfinite(norm):
            raise TrainingFailure("not_finite", f"the gradient's norm was {norm} at step {at}")
    return [loss for loss, _ in figures]


def _extend_curve(progress: TrainingProgress, losses: list[float]) -> None:
    mean = sum(losses) / len(losses)
    curve = progress.curve
    first = curve[0][1] if curve else losses[0]
    if mean > EXPLOSION_FACTOR * max(first, 1.0):
        raise TrainingFailure(
            "diverged", f"the loss rose from {first:.3g} to {mean:.3g} by step {progress.step}"
        )
    curve.append((progress.step, mean))
    if len(curve) > MAX_CURVE_POINTS:
        del curve[1::2]


def _log_step(name: str, step: int) -> None:
    log = os.environ.get(STEP_LOG)
    if log:
        with Path(log).open("a") as file:
            file.write(f"{name} {step} {os.getpid()}\n")
