"""The task of a search for each seed of training and each vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from objectives.data.batches import Batch
from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from spaces.cost.configuration import Configuration


class TaskVariants:
    """Tasks that differ in the order of the training data and in the vocabulary alone.

    Args:
        make: The task on some data.
        data: The data whose vocabulary is whole.
        data_of: The data with a smaller vocabulary.
    """

    def __init__(
        self,
        make: Callable[[PreparedData], Task],
        data: PreparedData,
        data_of: Callable[[int], PreparedData],
    ) -> None:
        self.usual = make(data)
        self._make = make
        self._data_of = data_of
        self._tasks: dict[tuple[int, int], Task] = {(self.usual.seed, 0): self.usual}
        self._calibrations: dict[tuple[int, int], list[Batch]] = {}

    def with_vocabulary(self, vocabulary: int) -> Task:
        """The task with so many pieces, or all (0), for the search's own seed."""
        return self._task(self.usual.seed, vocabulary)

    def with_seed(self, seed: int) -> Task:
        """The task with the whole vocabulary for a seed of training."""
        return self._task(seed, 0)

    def of(self, configuration: Configuration) -> Task:
        """The task that a configuration is trained and scored on."""
        return self._task(configuration.seed, configuration.architecture.vocabulary)

    def calibration(self, configuration: Configuration) -> list[Batch]:
        """Its batches for pruning, calibration and checks of compression."""
        key = configuration.seed, configuration.architecture.vocabulary
        if key not in self._calibrations:
            self._calibrations[key] = self._task(*key).calibration()
        return self._calibrations[key]

    def _task(self, seed: int, vocabulary: int) -> Task:
        key = seed, vocabulary
        if key not in self._tasks:
            own = self.usual.seed, vocabulary
            if own not in self._tasks:
                self._tasks[own] = self._make(self._data_of(vocabulary))
            self._tasks[key] = replace(self._tasks[own], seed=seed)
        return self._tasks[key]
