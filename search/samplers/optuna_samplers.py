"""Optuna's samplers in a search, kept to what is new and can be feasible."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from search.samplers.base import MustWaitError, SpaceExhaustedError
from search.storage.optuna_space import (
    OrdinalStudy,
    configuration_from,
    distributions,
    ordinal_distributions,
    parameters_from,
    point_from_ordinal,
)
from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.grid.grid import Point
from spaces.grid.search_space import SearchSpace

DRAWS = {"tpe": 16, "nsgaii": 16, "gp": 2}
"""Proposals of an Optuna sampler that are tried before one is drawn at random. A Gaussian process
takes long and proposes nearly the same again."""


class FeasibleSampler(BaseSampler):
    """An Optuna sampler that never proposes what is known to be useless.

    Refused are configurations that arithmetic shows to break a constraint, those that were tried
    before, and those whose architecture a running trial trains at this moment: that trial's
    checkpoints make them cheaper in a minute. What the inner sampler proposes is taken when it
    passes; after some proposals that do not, one that does is drawn uniformly.

    Args:
        space: The search space.
        name: ``tpe``, ``gp``, ``nsgaii``, ``random`` or ``grid``.
        seed: Seed of every draw.
        trials: Length of the search, which the population of ``nsgaii`` depends on.
    """

    def __init__(self, space: SearchSpace, name: str, *, seed: int, trials: int) -> None:
        self._space = space
        self._search_space = distributions(space)
        self._rng = random.Random(seed)
        self._inner = _optuna_sampler(name, seed, trials)
        self._draws = DRAWS.get(name, 0)
        self._in_grid_order = name == "grid"
        self._configurations: dict[int, Configuration] = {}
        self._tried: set[str] = set()
        self._busy: set[Architecture] = set()
        self._ordinal: OrdinalStudy | None = None

    def check(self, study: OptunaStudy) -> None:
        """Make sure that there is something to propose, before a trial is created.

        Raises:
            SpaceExhaustedError: Nothing new is left.
            MustWaitError: What is left must wait for a running trial.
        """
        self._take_in(study)
        self._useful_point()

    def should_compress_again(self, study: OptunaStudy, training: Configuration) -> bool:
        """No: general samplers do not know what shares its training."""
        return False

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole grid: every dimension is decided together."""
        return self._search_space

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose a configuration.

        Raises:
            SpaceExhaustedError: Nothing new is left.
            MustWaitError: What is left must wait for a running trial.
        """
        self._take_in(study)
        if self._inner is not None:
            ordinal = self._ordinal_study(study)
            for _ in range(self._draws):
                point = self._propose(self._inner, ordinal, trial)
                if self._is_useful(point):
                    return parameters_from(self._space, point)
        return parameters_from(self._space, self._useful_point())

    def sample_independent(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample a parameter that is not in the grid, as Optuna's contract asks."""
        sampler = self._inner or TPESampler(seed=self._rng.randrange(2**31))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        """Pass on to the inner sampler."""
        if self._inner is not None:
            self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        state: TrialState,
        values: Any,
    ) -> None:
        """Pass on to the inner sampler."""
        if self._inner is not None:
            self._inner.after_trial(study, trial, state, values)

    def _take_in(self, study: OptunaStudy) -> None:
        """Note what was tried, and what runs."""
        self._busy = set()
        for trial in study.get_trials(deepcopy=False):
            if trial.number not in self._configurations:
                # A trial that is being asked for has not got its parameters yet.
                if not self._search_space.keys() <= trial.params.keys():
                    continue
                configuration = configuration_from(self._space, trial.params)
                self._configurations[trial.number] = configuration
                self._tried.add(configuration.hash)
            if not trial.state.is_finished():
                self._busy.add(self._configurations[trial.number].architecture)

    def _useful_point(self) -> Point:
        """A useful point: the next of the grid, or one at random.

        Raises:
            SpaceExhaustedError: Nothing new is left.
            MustWaitError: What is left must wait for a running trial.
        """
        space, is_left = self._space, False
        for point in space.points() if self._in_grid_order else space.shuffled(self._rng):
            configuration = space.configuration(point)
            if self._is_new(configuration):
                if configuration.architecture not in self._busy:
                    return point
                is_left = True
        raise MustWaitError if is_left else SpaceExhaustedError

    def _is_useful(self, point: Point) -> bool:
        configuration = self._space.configuration(point)
        return configuration.architecture not in self._busy and self._is_new(configuration)

    def _is_new(self, configuration: Configuration) -> bool:
        return configuration.hash not in self._tried and self._space.is_feasible(configuration)

    def _propose(self, sampler: BaseSampler, study: Any, trial: FrozenTrial) -> Point:
        relative = sampler.infer_relative_search_space(study, trial)
        parameters = sampler.sample_relative(study, trial, relative)
        for name, distribution in ordinal_distributions(self._space).items():
            if name not in parameters:
                parameters[name] = sampler.sample_independent(study, trial, name, distribution)
        return point_from_ordinal(self._space, parameters)

    def _ordinal_study(self, study: OptunaStudy) -> OrdinalStudy:
        """The study as Optuna's samplers read it: they use the order of a dimension's values."""
        if self._ordinal is None or self._ordinal._study_id != study._study_id:
            self._ordinal = OrdinalStudy(study, self._space)
        return self._ordinal


def _optuna_sampler(name: str, seed: int, trials: int) -> BaseSampler | None:
    """Optuna's sampler of a name; ``random`` and ``grid`` need none."""
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed, multivariate=True, constant_liar=True),
        "gp": lambda: GPSampler(seed=seed),
        # Optuna's population of 50 would make a short search purely random.
        "nsgaii": lambda: NSGAIISampler(seed=seed, population_size=max(8, min(50, trials // 6))),
    }
    return makers[name]() if name in makers else None
