"""Inference costs of the candidates of a search file that are known before a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from search.arrays import Booleans, Floats, Integers
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import COSTS
from spaces.grid.search_space import SearchSpace


class KnownCosts:
    """Costs of training runs under each compression, computed when they are first needed.

    Args:
        runs: An example of each training run.
        compressions: The compressions of the space.
        architecture: Index of the architecture of each run, ``(runs,)``.
        configuration: The configuration of a run under a compression, by their indices.
    """

    def __init__(
        self,
        space: SearchSpace,
        runs: Sequence[Configuration],
        compressions: Sequence[Compression],
        architecture: Integers,
        configuration: Callable[[int, int], Configuration],
    ) -> None:
        self._space = space
        self._runs = runs
        self._compressions = compressions
        self._architecture = architecture
        self._configuration = configuration
        self._example = np.unique(architecture, return_index=True)[1]
        """The first run of each architecture."""
        self._has_enough_steps = np.array([space.has_enough_steps(run) for run in runs])
        self._rows: dict[int, Floats] = {}
        self._meeting: dict[int, Booleans] = {}
        self._first_equal: dict[int, Integers] = {}

    def of(self, runs: Integers) -> Floats:
        """Logarithms of the costs of some runs under every compression, ``(len(runs), compressions,
        axes)``; NaN where there is no such configuration, or where it may not be tried."""
        costs = np.stack([self._row(int(self._architecture[run])) for run in runs])
        costs[~self._has_enough_steps[runs]] = np.nan
        if self._space.expressions.names:
            costs[~np.stack([self._meets_expressions(int(run)) for run in runs])] = np.nan
        return costs

    def first_with_same_model(self, run: int, compression: int) -> int:
        """The first compression that gives the same model of a run.

        They differ where a sparsity of one layer, or of one head, removes nothing.
        """
        return int(self._first_equals(int(self._architecture[run]))[compression])

    def _first_equals(self, architecture: int) -> Integers:
        if architecture not in self._first_equal:
            run = self._runs[self._example[architecture]]
            first: dict[Compression, int] = {}
            self._first_equal[architecture] = np.array(
                [
                    first.setdefault(run.with_compression(each).canonical().compression, index)
                    for index, each in enumerate(self._compressions)
                ]
            )
        return self._first_equal[architecture]

    def _meets_expressions(self, run: int) -> Booleans:
        """Whether each compression of a run meets the expressions of the constraints."""
        expressions = self._space.expressions
        of_training = expressions.names & {"budget", *self._space.training_values}
        key = run if of_training else int(self._architecture[run])
        if key not in self._meeting:
            every = (self._configuration(run, index) for index in range(len(self._compressions)))
            self._meeting[key] = np.array(list(map(expressions.are_met, every)))
        return self._meeting[key]

    def _row(self, architecture: int) -> Floats:
        """Costs of an architecture, ``(compressions, axes)``."""
        if architecture not in self._rows:
            run, columns = int(self._example[architecture]), range(len(self._compressions))
            costs = [self._costs(self._configuration(run, index)) for index in columns]
            redundant = self._first_equals(architecture) != columns
            self._rows[architecture] = np.log10(np.where(redundant[:, None], np.nan, costs))
        return self._rows[architecture]

    def _costs(self, configuration: Configuration) -> list[float]:
        """Cost on each axis; NaN where one is known to exceed a limit."""
        criteria = self._space.criteria
        if not self._space.meets_limits(configuration):
            return [math.nan] * len(criteria.axes)
        if criteria.is_at_fixed_cost:
            return [1.0]
        return [self._cost(configuration, cost.name) for cost in criteria.axes]

    def _cost(self, configuration: Configuration, name: str) -> float:
        if COSTS[name].is_measured:
            return self._space.measured[name](configuration)
        return float(getattr(self._space.cost(configuration), name))
