"""Training paths: chains of stages that trials share through the store.

A path is a sequence of steps that its key determines: the stable path of an architecture, a decay
that leaves it, a fine-tuning that follows. A trial asks for the end of the last path; what some
trial trained before, in this search or another, is read from the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from objectives.data.batch_shards import WHOLE_BATCH, BatchShard
from objectives.store.manifest import checkpoint_address
from objectives.store.store import Store
from objectives.training.distributed import WorkerGroup
from objectives.training.loop import (
    OptimizerSettings,
    TrainingProgress,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    train,
)
from objectives.training.replicas import Replica
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration

STABLE = "stable"
"""Name of the stage that the budgets of an architecture share."""


class StepLoss(Protocol):
    """A loss of a model."""

    def __call__(
        self, model: nn.Module, step: int, shard: BatchShard = WHOLE_BATCH, /
    ) -> torch.Tensor:
        """Loss on the batch of a step, or on a shard of it."""
        ...


@dataclass(frozen=True)
class TrainingPath:
    """One stage of training, up to a step.

    Args:
        name: What it is: ``stable``, ``decay``, ``fine-tuning``.
        key: Hash of everything that determines its weights at each step.
        length: Steps to train.
        configuration: What asks for it, or shares it with what does: it tells other workers.
        build: Makes the untrained model of this stage.
        transfer_weights: Copies weights of the parent's model into the new one; None where the
            stage continues the parent's model and optimiser as they are.
        loss_at: Loss of the model on the batch of a step, or on a shard of it.
        optimizer_settings: How it is optimised.
        parent: The path that it starts from, at that path's end.
        can_continue: Whether longer paths continue from its end, so that the optimiser is kept.
        milestones: Steps on the way that shorter paths end at, kept so that a long run contains the
            short ones.
        validate: Figures on held-out data, measured once at the end and kept with the checkpoint.
        validated_by: What those figures depend on beside the weights and the data: searches that
            share the weights may measure otherwise. Empty where there is no choice, or the default.
    """

    name: str
    key: str
    length: int
    configuration: Configuration
    build: Callable[[], nn.Module]
    transfer_weights: Callable[[nn.Module, nn.Module], None] | None
    loss_at: StepLoss
    optimizer_settings: OptimizerSettings
    parent: TrainingPath | None = None
    can_continue: bool = False
    milestones: tuple[int, ...] = ()
    validate: Callable[[nn.Module], dict[str, float]] | None = None
    validated_by: dict[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        """Shape of the model, before pruning."""
        return self.configuration.architecture

    @property
    def seed(self) -> int:
        """Seed of initial weights and dropout."""
        return self.configuration.seed

    @property
    def address(self) -> str:
        """Address of its end in the store."""
        return self.address_at(self.length)

    def address_at(self, step: int) -> str:
        """Address of a step of the path in the store."""
        return checkpoint_address(self.key, step)

    @property
    def total_steps(self) -> int:
        """Steps of this path and all that it starts from."""
        return sum(path.length for path in self.chain)

    @property
    def chain(self) -> list[TrainingPath]:
        """This path and all that it starts from, the first one last."""
        return [self, *(self.parent.chain if self.parent else [])]


@dataclass
class TrainingCost:
    """What training a trial really took, and what it took from the store.

    Args:
        steps_trained: Optimiser steps run by this trial.
        steps_reused: Steps of its chain that the store had.
        seconds_trained: Seconds of the steps run.
        seconds_saved: Seconds that the reused steps took when they were run.
    """

    steps_trained: int = 0
    steps_reused: int = 0
    seconds_trained: float = 0.0
    seconds_saved: float = 0.0


@dataclass
class TrainingState:
    """A model somewhere on a path.

    Args:
        model: The model.
        optimizer: Its optimiser, where the point can be continued.
        progress: Where on the path it is.
        history: Facts of the paths before, oldest first.
        validation: What ``validate`` gave, at a path's end.
        resume_points: Steps of its path that the store has only because it is not at its end yet,
            ascending.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW | None
    progress: TrainingProgress
    history: list[dict[str, Any]] = field(default_factory=list)
    validation: dict[str, float] = field(default_factory=dict)
    resume_points: list[int] = field(default_factory=list)

    def facts(self, path: TrainingPath) -> dict[str, Any]:
        """What the record keeps of a path that ends here."""
        return {
            "name": path.name,
            "key": path.key,
            "steps": self.progress.step,
            "seconds": self.progress.seconds,
            "curve": self.progress.curve,
            "validation": self.validation,
        }


class Trainer:
    """Reaches the end of training paths, training only what the store does not have.

    Args:
        store: Where checkpoints are.
        device: Where to train without workers.
        checkpoint_seconds: Longest training that a crash may cost.
        workers: The workers that train together; without them, this process trains alone.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        *,
        checkpoint_seconds: float,
        workers: WorkerGroup | None = None,
    ) -> None:
        self._store = store
        self._device = device
        self._checkpoint_seconds = checkpoint_seconds
        self._workers = workers

    def reach(self, path: TrainingPath) -> tuple[TrainingState, TrainingCost]:
        """The model at the end of a path, and what it took to get there.

        Raises:
            TrainingFailure: Training broke down.
        """
        cost = TrainingCost()
        state = self._reach(path, cost)
        chain = [*state.history, state.facts(path)]
        cost.steps_reused = path.total_steps - cost.steps_trained
        cost.seconds_saved = max(
            0.0, sum(stage["seconds"] for stage in chain) - cost.seconds_trained
        )
        return state, cost

    def _reach(self, path: TrainingPath, cost: TrainingCost) -> TrainingState:
        # Two workers that need the same path take turns; the second finds what the first stored.
        with self._store.lock(path.key):
            state = self._longest_prefix(path) or self._start(path, cost)
            if state.progress.step < path.length:
                self._train(path, state, cost)
            elif path.validate is not None and not state.validation:
                # Another search measured otherwise; its entry stays as it is.
                state.validation = path.validate(state.model)
            return state

    def _start(self, path: TrainingPath, cost: TrainingCost) -> TrainingState:
        parent = self._reach(path.parent, cost) if path.parent else None
        if parent is not None and path.parent is not None:
            history = [*parent.history, parent.facts(path.parent)]
        else:
            history = []
        if parent is not None and path.transfer_weights is None:
            return TrainingState(parent.model, parent.optimizer, TrainingProgress(), history)
        model = self._build(path)
        if parent is not None and path.transfer_weights is not None:
            path.transfer_weights(parent.model, model)
        return TrainingState(model, self._optimizer(path, model), TrainingProgress(), history)

    def _train(self, path: TrainingPath, state: TrainingState, cost: TrainingCost) -> None:
        before_steps, before_seconds = state.progress.step, state.progress.seconds
        on_the_way = {step for step in path.milestones if before_steps < step < path.length}
        with self._replica(path, state) as replica:

            def checkpoint(progress: TrainingProgress) -> None:
                replica.collect()
                state.resume_points.append(progress.step)
                self._save(path, state, with_optimizer=True)
                self._pass_resume_points(path, state, keep=2)

            for stop in (*sorted(on_the_way), path.length):
                train(
                    replica.model,
                    replica.optimizer,
                    replica.loss_at,
                    state.progress,
                    to_step=stop,
                    settings=path.optimizer_settings,
                    seed=path.seed,
                    name=path.key,
                    checkpoint_seconds=self._checkpoint_seconds,
                    checkpoint=checkpoint,
                )
                replica.collect()
                if stop == path.length and path.validate is not None:
                    state.validation = path.validate(state.model)
                self._save(path, state, with_optimizer=path.can_continue)
                self._pass_resume_points(path, state, keep=0 if stop == path.length else 1)
        cost.steps_trained += state.progress.step - before_steps
        cost.seconds_trained += state.progress.seconds - before_seconds

    def _replica(self, path: TrainingPath, state: TrainingState) -> AbstractContextManager[Replica]:
        """What this process trains of a point's model."""
        if self._workers is not None:
            return self._workers.training(path, state)
        assert state.optimizer is not None
        alone = Replica(state.model, state.optimizer, path.loss_at, collect=lambda: None)
        return nullcontext(alone)

    def _pass_resume_points(self, path: TrainingPath, state: TrainingState, *, keep: int) -> None:
        """Remove all but the last resume points. An unfinished path keeps its last two points, for
        the last one may turn out to be damaged."""
        while len(state.resume_points) > keep:
            self._store.remove(path.address_at(state.resume_points.pop(0)))

    def _longest_prefix(self, path: TrainingPath) -> TrainingState | None:
        for step in reversed(self._store.checkpoint_steps(path.key)):
            if step > path.length:
                continue
            # Another process may remove it while it is read, to make room.
            with self._store.open(path.address_at(step)) as folder, suppress(FileNotFoundError):
                if folder is not None:
                    return self._load(path, folder)
        return None

    def _save(self, path: TrainingPath, state: TrainingState, *, with_optimizer: bool) -> None:
        def fill(folder: Path) -> None:
            save_model(state.model, str(folder / "model.safetensors"))
            if with_optimizer and state.optimizer is not None:
                save_file(optimizer_tensors(state.optimizer), str(folder / "optimizer.safetensors"))
            entry = {
                "history": state.history,
                "resume_points": state.resume_points,
                "validated_by": path.validated_by,
                **state.facts(path),
            }
            (folder / "state.json").write_text(json.dumps(entry, allow_nan=False))

        address = path.address_at(state.progress.step)
        self._store.write(address, fill, is_final=not with_optimizer)

    def _load(self, path: TrainingPath, folder: Path) -> TrainingState:
        stored = json.loads((folder / "state.json").read_text())
        model = self._build(path)
        load_model(model, str(folder / "model.safetensors"), device=str(self._state_device(path)))
        optimizer = None
        if path.can_continue or stored["steps"] < path.length:
            optimizer = self._optimizer(path, model)
            tensors = load_file(
                str(folder / "optimizer.safetensors"), device=str(self._state_device(path))
            )
            restore_optimizer(optimizer, tensors)
        curve = [(int(step), float(loss)) for step, loss in stored["curve"]]
        # Older entries do not say, and are of the default.
        is_comparable = stored.get("validated_by", {}) == path.validated_by
        return TrainingState(
            model=model,
            optimizer=optimizer,
            progress=TrainingProgress(stored["steps"], stored["seconds"], curve),
            history=stored["history"],
            validation=stored["validation"] if is_comparable else {},
            # What an earlier search stopped at may be where a budget of this one ends.
            resume_points=[step for step in stored["resume_points"] if step not in path.milestones],
        )

    def _build(self, path: TrainingPath) -> nn.Module:
        torch.manual_seed(path.seed)
        return path.build().to(self._state_device(path))

    def _state_device(self, path: TrainingPath) -> torch.device:
        """Where the whole model is."""
        return self._workers.state_device(path.architecture) if self._workers else self._device

    def _optimizer(self, path: TrainingPath, model: nn.Module) -> torch.optim.AdamW:
        return make_optimizer(model, path.architecture.width, path.optimizer_settings)
