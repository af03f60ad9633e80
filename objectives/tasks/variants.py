"""The task of a search for each seed of training, vocabulary and setting of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from spaces.cost.configuration import Configuration, Settings


class TaskVariants:
    """Tasks that differ in the order of the training data, in the vocabulary and in fields of
    ``training`` alone.

    Args:
        make: The task on some data, with some values of fields of ``training``.
        data: The data whose vocabulary is whole.
        data_of: The data with a smaller vocabulary.
    """

    def __init__(
        self,
        make: Callable[[PreparedData, Mapping[str, float]], Task],
        data: PreparedData,
        data_of: Callable[[int], PreparedData],
    ) -> None:
        self.usual = make(data, {})
        self._make = make
        self._data_of = data_of
        self._tasks: dict[tuple[int, int, Settings], Task] = {(self.usual.seed, 0, ()): self.usual}
        self._scored: dict[tuple[int, int, str], Task] = {}
        self._calibrations: dict[tuple[int, int], list[Batch]] = {}

    def with_vocabulary(self, vocabulary: int) -> Task:
        """The task with so many pieces, or all (0), for the search's own seed."""
        return self._task(self.usual.seed, vocabulary)

    def with_seed(self, seed: int) -> Task:
        """The task with the whole vocabulary for a seed of training."""
        return self._task(seed, 0)

    def of(self, configuration: Configuration) -> Task:
        """The task that a configuration is trained and scored on."""
        vocabulary = configuration.architecture.vocabulary
        return self._task(configuration.seed, vocabulary, configuration.training)

    def further_score(
        self, configuration: Configuration, metric: str, model: nn.Module
    ) -> dict[str, float]:
        """``value``, ``low`` and ``high`` of another metric of a model on validation."""
        score = self._scored_by(configuration, metric).score(model, "validation")
        return {"value": score.value, "low": score.low, "high": score.high}

    def _scored_by(self, configuration: Configuration, metric: str) -> Task:
        key = configuration.seed, configuration.architecture.vocabulary, metric
        if key not in self._scored:
            task = self._task(*key[:2])
            self._scored[key] = task.bound(replace(task.context, metric=metric))
        return self._scored[key]

    def calibration(self, configuration: Configuration) -> list[Batch]:
        """Its batches for pruning, calibration and checks of compression."""
        key = configuration.seed, configuration.architecture.vocabulary
        if key not in self._calibrations:
            self._calibrations[key] = self._task(*key).calibration()
        return self._calibrations[key]

    def _task(self, seed: int, vocabulary: int, training: Settings = ()) -> Task:
        key = seed, vocabulary, training
        if key not in self._tasks:
            own = self.usual.seed, vocabulary, training
            if own not in self._tasks:
                data = self._data_of(vocabulary) if vocabulary else self.usual.prepared
                made = self._make(data, dict(training))
                # All start from one checkpoint, which is opened once.
                self._tasks[own] = made.bound(replace(made.context, start=self.usual.start))
            task = self._tasks[own]
            self._tasks[key] = task.bound(replace(task.context, seed=seed))
        return self._tasks[key]
