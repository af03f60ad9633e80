"""Seconds of the trials of a function, and of the stages that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.arrays import Booleans, Floats, Integers
from search.samplers.frontier.history import Trial
from search.samplers.functions.regression import LogRegression

LEAST_SECONDS = 1e-3
OVERHEAD_SECONDS = 0.2
"""What starting and recording a trial takes, beside the function."""


class FunctionSeconds:
    """What a trial would take now: its own seconds, and those of the stages that are not stored.

    Args:
        regression: Over the points of the design space.
        stages: Keys of the stages of each point; empty where the user names none.
    """

    def __init__(self, regression: LogRegression, stages: Sequence[tuple[str, ...]]) -> None:
        self._regression = regression
        self._count = len(regression)
        numbers: dict[str, int] = {}
        depth = max(map(len, stages), default=0)
        self._stages: Integers = np.full((self._count, depth), -1)
        for point, keys in enumerate(stages):
            for place, key in enumerate(keys):
                self._stages[point, place] = numbers.setdefault(key, len(numbers))
        self._keys = stages
        self._numbers = numbers
        self._is_stored = np.zeros(len(numbers) + 1, dtype=bool)
        # Where there is no stage, nothing is missing.
        self._is_stored[-1] = True
        self._own: dict[int, float] = {}
        self._by_place: list[dict[int, float]] = [{} for _ in range(depth)]
        self._results: dict[int, Mapping[str, float | None]] = {}
        self._predicted: tuple[Floats, list[Floats]] | None = None

    def add(self, point: int, seconds: float, stages: Mapping[str, float | None]) -> None:
        """Learn what a complete trial took.

        Args:
            seconds: All of it, with the stages.
            stages: Seconds of each stage that it used; None where it was stored before.
        """
        self.learn(point, seconds, stages)
        self._results[point] = stages
        for key in stages:
            if key in self._numbers:
                self._is_stored[self._numbers[key]] = True

    def learn(self, point: int, seconds: float, stages: Mapping[str, float | None]) -> None:
        """Learn what a trial of another search took, whose stages this one has not."""
        made = {key: took for key, took in stages.items() if took is not None}
        self._own[point] = max(seconds - sum(made.values()), 0.0) + OVERHEAD_SECONDS
        for place, key in enumerate(self._keys[point]):
            if key in made:
                self._by_place[place][point] = max(made[key], LEAST_SECONDS)
        self._predicted = None

    @property
    def is_trained(self) -> Booleans:
        """Points whose stages are all stored, ``(points,)``."""
        trained: Booleans = np.all(self._is_stored[self._stages], axis=1)
        return trained

    def update(self, trial: Trial) -> float:
        """Seconds of a trial that was added before."""
        stages = self._results.get(trial.run, {})
        return self._own.get(trial.run, 0.0) + sum(filter(None, stages.values()))

    def training_seconds(self) -> Floats:
        """Seconds of the stages of each point that are not stored, ``(points,)``."""
        seconds = np.zeros(self._count)
        for place, predicted in enumerate(self._predict()[1]):
            seconds += np.where(self._is_stored[self._stages[:, place]], 0.0, predicted)
        return seconds

    def evaluation_seconds(self, runs: Integers, compressions: Integers) -> Floats:
        """Seconds of some points without their stages, ``(runs, 1)``."""
        return self._predict()[0][runs][:, None]

    def _predict(self) -> tuple[Floats, list[Floats]]:
        if self._predicted is None:
            self._predicted = (
                np.exp(self._regression.predict(self._own)[0]),
                [np.exp(self._regression.predict(known)[0]) for known in self._by_place],
            )
        return self._predicted
