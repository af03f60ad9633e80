"""The trainer, which trains only what the store does not have, and the models that it returns."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from objectives.store.store import Store
from objectives.training.checkpoints.resume_points import ResumePoints, keep_last
from objectives.training.checkpoints.state_files import Snapshot, initial_state, load_state
from objectives.training.early_stopping import EarlyStopping
from objectives.training.loop import TrainingFailure, train
from objectives.training.path import (
    RECOVERY,
    STABLE,
    TrainingCost,
    TrainingPath,
    TrainingProgress,
    TrainingState,
)
from objectives.training.replica import TrainingProcess, frozen
from spaces.cost.configuration import Configuration

COOLDOWN = "cooldown"
"""All stages between the stable path and recovery."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in memory, ready to be compressed in any number of ways.

    Args:
        configuration: What was trained; its compression is the first one asked for.
        model: On the device of the process that trained it, in evaluation mode.
        seconds: Seconds that this process spent on it.
        beside: Facts of stages that were trained for it and are not in its chain: those of the
            model before compression that recovery replaced.
    """

    configuration: Configuration
    path: TrainingPath
    model: nn.Module
    state: TrainingState
    cost: TrainingCost
    seconds: float
    beside: tuple[dict[str, Any], ...] = ()

    @property
    def chain(self) -> list[dict[str, Any]]:
        """Facts of its stages, oldest first."""
        return [*self.state.history, self.state.facts(self.path)]

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds that its stages took, whichever trial trained them."""
        seconds = {STABLE: 0.0, COOLDOWN: 0.0, RECOVERY: 0.0}
        for stage in [*self.chain, *self.beside]:
            name = stage["name"] if stage["name"] in seconds else COOLDOWN
            seconds[name] += stage["seconds"]
        return seconds

    def steps_of(self, name: str) -> int:
        """Steps that its stages of some name really took."""
        return sum(stage["steps"] for stage in self.chain if stage["name"] == name)

    def without_cost(self) -> TrainedModel:
        """The same model for its next compression, for which all of its training is reused."""
        cost = TrainingCost(
            steps_reused=self.cost.steps_reused + self.cost.steps_trained,
            seconds_saved=self.cost.seconds_saved + self.cost.seconds_trained,
        )
        return replace(self, cost=cost, seconds=0.0)

    def continued(
        self, path: TrainingPath, state: TrainingState, cost: TrainingCost, seconds: float
    ) -> TrainedModel:
        """The model after further training, whose ``cost`` has that of this model in it.

        Args:
            path: What it was trained further on, from the end of this model or from before it.
            cost: Of that path with all before it.
        """
        before = self.cost
        stages = {stage["key"] for stage in [*state.history, state.facts(path)]}
        beside = tuple(stage for stage in self.chain if stage["key"] not in stages)
        steps_beside = sum(stage["steps"] for stage in beside)
        seconds_beside = sum(stage["seconds"] for stage in beside)
        return replace(
            self,
            path=path,
            model=state.model,
            state=state,
            cost=TrainingCost(
                steps_trained=before.steps_trained + cost.steps_trained,
                steps_reused=cost.steps_reused + steps_beside - before.steps_trained,
                seconds_trained=before.seconds_trained + cost.seconds_trained,
                seconds_saved=max(
                    0.0, cost.seconds_saved + seconds_beside - before.seconds_trained
                ),
            ),
            seconds=self.seconds + seconds,
            beside=beside,
        )


class Trainer:
    """Trains paths to their end.

    Args:
        process: What trains: this process alone, or a worker group.
        checkpoint_seconds: Longest training that a crash may cost, where resume points are cheap.
    """

    def __init__(
        self, store: Store, process: TrainingProcess, *, checkpoint_seconds: float
    ) -> None:
        self._store = store
        self._process = process
        self._checkpoint_seconds = checkpoint_seconds

    def train(self, path: TrainingPath) -> tuple[TrainingState, TrainingCost]:
        """The state at the end of a path, and what it took to get there.

        Its model is on the device of this process, in evaluation mode.

        Raises:
            TrainingFailure: Training broke down.
        """
        cost = TrainingCost()
        state = self._end_of(path, cost)
        state.model.to(self._process.device).eval()
        stages = [*state.history, state.facts(path)]
        cost.steps_reused = sum(stage["steps"] for stage in stages) - cost.steps_trained
        seconds = sum(stage["seconds"] for stage in stages)
        cost.seconds_saved = max(0.0, seconds - cost.seconds_trained)
        return state, cost

    def _end_of(self, path: TrainingPath, cost: TrainingCost) -> TrainingState:
        # Two processes that need the same path take turns; the second finds what the first stored.
        with self._store.lock(path.key):
            state = self._longest_prefix(path)
            if state is None:
                parent = self._end_of(path.parent, cost) if path.parent else None
                device = self._process.state_device(path.architecture)
                state = initial_state(path, device, parent)
            if not state.is_end_of(path):
                self._train(path, state, cost)
            elif path.validate is not None and not state.validation:
                # Another search measured in another way; its entry stays as it is.
                state.validation = path.validate(state.model.to(self._process.device))
            return state

    def _train(self, path: TrainingPath, state: TrainingState, cost: TrainingCost) -> None:
        steps_before, seconds_before = state.progress.step, state.progress.seconds
        self._do_steps(path, state, self._teacher(path, cost))
        self._finish(path, state)
        cost.steps_trained += state.progress.step - steps_before
        cost.seconds_trained += state.progress.seconds - seconds_before

    def _do_steps(
        self, path: TrainingPath, state: TrainingState, teacher: nn.Module | None
    ) -> None:
        """Train a path to its end; what that needs beside the state is freed afterwards."""
        with (
            self._process.replica(path, state, teacher) as replica,
            path.while_training(replica.model),
            ResumePoints(
                self._store, path, state, least_seconds=self._checkpoint_seconds
            ) as resume_points,
        ):

            def checkpoint(_: TrainingProgress) -> None:
                replica.collect()
                resume_points.add()

            for stop in path.stops:
                if stop <= state.progress.step:
                    continue
                train(
                    replica,
                    state.progress,
                    to_step=stop,
                    steps_at_once=path.steps_at_once,
                    name=path.key,
                    checkpoint_seconds=lambda: resume_points.interval_seconds,
                    checkpoint=checkpoint,
                )
                replica.collect()
                if path.early_stopping is not None:
                    _evaluate_epoch(path.early_stopping, state)
                if state.is_end_of(path):
                    break
                if stop in path.milestones:
                    resume_points.wait()
                    self._save(path, state, with_optimizer=True)
                    keep_last(self._store, path, state, 1)
                elif state.progress.unsaved_seconds >= resume_points.interval_seconds:
                    checkpoint(state.progress)

    def _teacher(self, path: TrainingPath, cost: TrainingCost) -> nn.Module | None:
        """The model that teaches on a path, where one does; trained again if it was removed."""
        return None if path.teacher is None else frozen(self._end_of(path.teacher, cost).model)

    def _finish(self, path: TrainingPath, state: TrainingState) -> None:
        """Validate and store the end of a path."""
        if path.early_stopping is not None:
            state.model.load_state_dict(state.held_out.best_weights)
            state.held_out.best_weights = {}
        if not path.can_continue:
            state.release_optimizer()
        if path.validate is not None:
            state.validation = path.validate(state.model.to(self._process.device))
        self._save(path, state, with_optimizer=path.can_continue)
        keep_last(self._store, path, state, 0)

    def _longest_prefix(self, path: TrainingPath) -> TrainingState | None:
        device = self._process.state_device(path.architecture)
        for step in reversed(self._store.checkpoint_steps(path.key)):
            if step > path.length:
                continue
            # Another process may remove it while it is read, to free disk space.
            with self._store.open(path.address_at(step)) as folder, suppress(FileNotFoundError):
                if folder is not None:
                    return load_state(folder, path, device)
        return None

    def _save(self, path: TrainingPath, state: TrainingState, *, with_optimizer: bool) -> None:
        snapshot = Snapshot.of(path, state, with_optimizer=with_optimizer)
        fill = partial(snapshot.write, with_optimizer=with_optimizer)
        self._store.write(state.address_on(path), fill, is_final=not with_optimizer)
        state.progress.unsaved_seconds = 0.0


def _evaluate_epoch(early_stopping: EarlyStopping, state: TrainingState) -> None:
    """Evaluate a model on held-out examples, keep it if it is the best, and decide on the end."""
    started, step = time.perf_counter(), state.progress.step
    figures = early_stopping.evaluate(state.model)
    if not math.isfinite(figures["loss"]):
        message = f"the held-out loss was {figures['loss']} at step {step}"
        raise TrainingFailure("not_finite", message)
    state.held_out.add(state.model, step, figures)
    state.has_ended = state.held_out.epochs_since_best >= early_stopping.patience
    state.progress.spend(time.perf_counter() - started)
