"""Optuna's samplers in a search, restricted to configurations that are new and may be feasible."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from objectives.failures import OUT_OF_MEMORY
from search.samplers.base import MustWaitError, SpaceExhaustedError, StudySampler, failure_of
from search.storage.optuna_space import (
    OrdinalStudy,
    distributions,
    ordinal_distributions,
    parameters_from,
    point_from,
    point_from_ordinal,
    without_repeats,
)
from search.storage.states import OUTDATED
from spaces.cost.architecture import Architecture
from spaces.file.sampler_names import SamplerName
from spaces.grid.grid import Dimension, Point

DRAWS: dict[SamplerName, int] = {"tpe": 16, "gp": 2, "nsgaii": 16}
"""Proposals of an Optuna sampler that are tried before one is drawn at random. One of a Gaussian
process is a whole optimisation of its acquisition function, and the next is nearly the same."""


def optuna_sampler(name: SamplerName, *, seed: int, population: int) -> BaseSampler:
    """Optuna's sampler with a name.

    Args:
        name: ``tpe``, ``gp`` or ``nsgaii``; any other name is the random sampler.
        population: Population of NSGA-II. Optuna's default of 50 makes a short search random.
    """
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if name == "gp":
        return GPSampler(seed=seed)
    if name == "nsgaii":
        return NSGAIISampler(seed=seed, population_size=population)
    return RandomSampler(seed=seed)


class SampledSpace(Protocol):
    """What a sampler asks of a space: ``SearchSpace``, or ``FunctionSpace``.

    A configuration has a ``hash``, and a ``stable_path`` that those have in common which share
    training.
    """

    dimensions: tuple[Dimension, ...]

    def has(self, point: Point) -> bool:
        """Whether there is a configuration at a point."""

    def configuration(self, point: Point) -> Any:
        """The configuration of a point."""

    def is_feasible(self, configuration: Any) -> bool:
        """Whether a configuration may meet the constraints."""

    def points(self) -> Iterator[Point]:
        """Every point, the last dimension changing fastest."""

    def shuffled(self, rng: random.Random) -> Iterator[Point]:
        """Points in a pseudo-random order."""


class FeasibleSampler(StudySampler):
    """An Optuna sampler that proposes only configurations that can be of use.

    It rejects configurations that exceed a limit by arithmetic, those that were tried, and those
    whose stable path a running trial trains: with that trial's checkpoints they are cheaper
    later. After some rejected proposals, a configuration is drawn uniformly.

    Args:
        name: ``tpe``, ``gp``, ``nsgaii``, ``random`` or ``grid``.
        trials: Trials of the search, which the population of ``nsgaii`` depends on.
        needs_at_least: Whether a model needs at least the memory of another: it is not proposed
            where that one ran out of it.
    """

    def __init__(
        self,
        space: SampledSpace,
        name: SamplerName,
        *,
        seed: int,
        trials: int,
        needs_at_least: Callable[[Architecture, Architecture], bool] | None = None,
    ) -> None:
        population = max(8, min(50, trials // 6))
        super().__init__(optuna_sampler(name, seed=seed, population=population))
        self._space = space
        self._search_space = distributions(space)
        self._rng = random.Random(seed)
        self._draws = DRAWS.get(name, 0)
        self._in_grid_order = name == "grid"
        self._configurations: dict[int, Any] = {}
        self._tried: set[str] = set()
        self._in_training: set[Hashable] = set()
        self._needs_at_least = needs_at_least
        self._too_large: set[Architecture] = set()
        self._ordinal: OrdinalStudy | None = None

    def check(self, study: OptunaStudy) -> None:
        """Make sure that a point can be proposed."""
        self._update(study)
        self._next_point()

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole grid: all dimensions are sampled together."""
        return self._search_space

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose a configuration; raises as ``check`` does."""
        self._update(study)
        ordinal = self._ordinal_study(study)
        for _ in range(self._draws):
            point = self._propose(ordinal, trial)
            if not self._space.has(point):
                continue
            configuration = self._space.configuration(point)
            if self._is_new(configuration) and not self._must_wait(configuration):
                return parameters_from(self._space, point)
        return parameters_from(self._space, self._next_point())

    def _update(self, study: OptunaStudy) -> None:
        """Collect what was tried, and the stable paths in training."""
        self._in_training = set()
        for trial in without_repeats(study.get_trials(deepcopy=False)):
            if trial.number not in self._configurations:
                # A trial without all parameters is the one being asked for.
                if not self._search_space.keys() <= trial.params.keys():
                    continue
                configuration = self._space.configuration(point_from(self._space, trial.params))
                self._configurations[trial.number] = configuration
                if failure_of(trial) != OUTDATED:
                    self._tried.add(configuration.hash)
            if not trial.state.is_finished():
                self._in_training.add(self._configurations[trial.number].stable_path)
            elif failure_of(trial) == OUT_OF_MEMORY and self._needs_at_least is not None:
                self._too_large.add(self._configurations[trial.number].architecture)

    def _next_point(self) -> Point:
        """A point that can be proposed: the next of the grid, or a random one."""
        space, is_left = self._space, False
        for point in space.points() if self._in_grid_order else space.shuffled(self._rng):
            configuration = space.configuration(point)
            if self._is_new(configuration):
                if not self._must_wait(configuration):
                    return point
                is_left = True
        raise MustWaitError if is_left else SpaceExhaustedError

    def _must_wait(self, configuration: Any) -> bool:
        return configuration.stable_path in self._in_training

    def _is_new(self, configuration: Any) -> bool:
        if configuration.hash in self._tried or not self._space.is_feasible(configuration):
            return False
        needs_at_least = self._needs_at_least
        return needs_at_least is None or not any(
            needs_at_least(configuration.architecture, each) for each in self._too_large
        )

    def _propose(self, study: Any, trial: FrozenTrial) -> Point:
        relative = self._inner.infer_relative_search_space(study, trial)
        parameters = self._inner.sample_relative(study, trial, relative)
        for name, distribution in ordinal_distributions(self._space).items():
            if name not in parameters:
                parameters[name] = self._inner.sample_independent(study, trial, name, distribution)
        return point_from_ordinal(self._space, parameters)

    def _ordinal_study(self, study: OptunaStudy) -> OrdinalStudy:
        """The study as Optuna's samplers read it: they use the order of a dimension's values."""
        if self._ordinal is None or self._ordinal._study_id != study._study_id:
            self._ordinal = OrdinalStudy(study, self._space)
        return self._ordinal
