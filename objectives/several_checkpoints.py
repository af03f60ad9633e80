"""The objective of a search with several checkpoints: one of its own for each.

Each sees a search that has its checkpoint alone, so that a model is the same, under the same key,
whether its checkpoint was searched alone or among others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from objectives.compression import model_file
from objectives.data.prepared_data import PreparedData
from objectives.failures import TrialFailure
from objectives.measurement.evaluation import Evaluation
from objectives.measurement.score import Score
from objectives.measurement.slowdown import MeasuredCost
from objectives.objective import Objective
from objectives.training.distributed import WorkerGroup
from objectives.training.speed import TrainingSpeed
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile


class Objectives:
    """The objective of each checkpoint of a search; of one without a choice, its only one.

    Args:
        search: The search file.
        data: The prepared data of each checkpoint, in the order of the file; prepared here where
            none is given.
        workers: The workers that train each model together; without them, this process trains.
        speeds: As those of ``Objective``.

    Raises:
        UserError: The data or the store cannot be used.
    """

    def __init__(
        self,
        search: SearchFile,
        data: Sequence[PreparedData | None] = (),
        workers: WorkerGroup | None = None,
        speeds: Mapping[Architecture, float] | None = None,
    ) -> None:
        names = search.checkpoints or ("",)
        self._objectives = {
            name: Objective(
                search.alone(name),
                prepared,
                workers,
                {
                    architecture.of_checkpoint(""): speed
                    for architecture, speed in (speeds or {}).items()
                    if architecture.checkpoint == name
                },
            )
            for name, prepared in zip(names, data or [None] * len(names), strict=True)
        }

    @property
    def first(self) -> Objective:
        """That of the first checkpoint, or the only one."""
        return next(iter(self._objectives.values()))

    def evaluate_each(
        self, configurations: Iterable[Configuration]
    ) -> Iterator[tuple[Configuration, Evaluation | TrialFailure]]:
        """Evaluate configurations one after another, as ``Objective.evaluate_each``."""
        for name, neighbours in groupby(configurations, lambda each: each.checkpoint):
            alone = (each.of_checkpoint("") for each in neighbours)
            for configuration, outcome in self._objectives[name].evaluate_each(alone):
                yield configuration.of_checkpoint(name), outcome

    def untrained_cost(self, name: str, configuration: Configuration) -> MeasuredCost:
        """A measured cost of a configuration, of an untrained model or cached."""
        meters = self._objectives[configuration.checkpoint].meters
        return meters.of_untrained(name, configuration.of_checkpoint(""))

    def speed_of(self, architecture: Architecture) -> TrainingSpeed:
        """How fast an architecture trains."""
        cache = self._objectives[architecture.checkpoint].speed_cache
        return cache.of(architecture.of_checkpoint(""))

    def stored_training(self, configurations: Sequence[Configuration]) -> list[tuple[bool, bool]]:
        """What the store has of each configuration, as ``Objective.stored_training``."""
        found = [(False, False)] * len(configurations)
        for name, objective in self._objectives.items():
            own = [index for index, each in enumerate(configurations) if each.checkpoint == name]
            alone = [configurations[index].of_checkpoint("") for index in own]
            for index, stored in zip(own, objective.stored_training(alone), strict=True):
                found[index] = stored
        return found

    def test(self, model_address: str) -> Score:
        """Score a stored compressed model on the test split, as ``Objective.test``."""
        return self._objective_of(model_address).test(model_address)

    def _objective_of(self, model_address: str) -> Objective:
        with self.first.store.open(model_address) as folder:
            if folder is not None:
                start = model_file.read_spec(folder).workload.checkpoint
                for objective in self._objectives.values():
                    if objective.workload.checkpoint == start:
                        return objective
        return self.first

    def references(self, splits: list[str]) -> list[dict[str, Any]]:
        """The references of the task, on the tokens of the first checkpoint."""
        return self.first.references(splits)

    def pop_damaged(self) -> list[str]:
        """Damaged entries of the store that were found since the last call."""
        return [entry for each in self._objectives.values() for entry in each.store.pop_damaged()]

    def follow(self) -> None:
        """Train together with rank 0, which evaluates, until it dismisses this worker."""
        self.first.follow()
