"""The ``frontier`` sampler: spends compute where a second of it moves the frontier most.

In a search of tlc it knows the space: which trials share training, what inference costs before
anything is trained, and what a trial would really take now. In any other Optuna study it is a
Gaussian process sampler for numbers and categories, with one objective or several.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from objectives.failures import OUT_OF_MEMORY
from search.samplers.base import ConvergedError, MustWaitError, SpaceExhaustedError
from search.samplers.frontier.design_space import FailureCause, Trial
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.features import prior_for
from search.samplers.frontier.proposals import Proposal
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.samplers.frontier.unknown_space import propose
from search.storage.trials import ERROR, FAILURE, FINISH, HUNG, RESULT, WORKER_DIED
from spaces.cost.configuration import Configuration
from spaces.cost.metric import Metric

_CAUSES = {
    **dict.fromkeys(("diverged", "not_finite", "constant"), FailureCause.MODEL),
    **dict.fromkeys((ERROR, OUT_OF_MEMORY, HUNG, WORKER_DIED), FailureCause.MACHINE),
}
"""By the state of a failed trial; any other state is one of its compression."""
LEAST_SHARE = 0.01
"""``stop: auto`` ends a search when the best trial promises less than this share of the hypervolume
per second that the search has gained on average."""


class FrontierSampler(BaseSampler):
    """Greatest expected hypervolume improvement per second.

    Args:
        space: The design space of a tlc search; without it, any Optuna study is accepted.
        seed: The same seed, store and results give the same choices.
        stops: Whether to stop when the expected gain has become small.
    """

    def __init__(
        self,
        space: SearchDesignSpace | None = None,
        *,
        seed: int | None = None,
        stops: bool = False,
    ) -> None:
        self._space = space
        self._stops = stops
        self._independent = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self._intersection = IntersectionSearchSpace()
        self._taken: set[int] = set()
        self._next: Proposal | None = None
        if space is not None:
            prior = prior_for(space.design_space.compressions)
            self._designer = Designer(space.design_space, prior, 0 if seed is None else seed)

    def check(self, study: optuna.Study) -> None:
        """Choose the next trial, before one is created.

        Raises:
            SpaceExhaustedError: Nothing new is left.
            MustWaitError: What is left would train what is being trained.
            ConvergedError: No trial is worth its seconds any more.
        """
        running = self._take_in(study)
        suggestion = self._designer.suggest(running)
        if suggestion is None:
            raise MustWaitError if running else SpaceExhaustedError
        if self._stops and suggestion.rate < LEAST_SHARE * self._designer.average_rate:
            raise ConvergedError(
                f"the best trial left promises less than {LEAST_SHARE:.0%} of the hypervolume per "
                "second that the search has gained on average"
            )
        self._next = suggestion

    def should_compress_again(self, study: optuna.Study, training: Configuration) -> bool:
        """Whether another compression of what a trial trains is worth more than anything else.

        If it is, the next trial that is asked for is that one.
        """
        assert self._space is not None
        run = self._space.run_of(training)
        suggestion = self._designer.suggest(self._take_in(study), in_memory=run)
        self._next = suggestion if suggestion is not None and suggestion.run == run else None
        return self._next is not None

    def reseed_rng(self) -> None:
        """Draw other random numbers from here on, as parallel workers ask."""
        self._independent.reseed_rng()
        self._rng = np.random.default_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole grid of a search; else what all finished trials have in common."""
        if self._space is not None:
            return self._space.distributions
        return {
            name: distribution
            for name, distribution in self._intersection.calculate(study).items()
            if not distribution.single()
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters of the next trial together."""
        if not search_space:
            return {}
        if self._space is None:
            return propose(study, trial, search_space, self._rng)
        if self._next is None:
            self.check(study)
        assert self._next is not None
        chosen, self._next = self._next, None
        return self._space.parameters(chosen.run, chosen.compression)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that no other trial has: at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _take_in(self, study: optuna.Study) -> list[tuple[int, int]]:
        """Give the designer what has finished; returns the places of running trials."""
        assert self._space is not None
        grid = self._space.distributions.keys()
        running: list[tuple[int, int]] = []
        finished: list[FrozenTrial] = []
        for trial in study.get_trials(deepcopy=False):
            # One that lacks parameters is being asked for.
            if trial.number in self._taken or grid - trial.params.keys():
                continue
            if not trial.state.is_finished():
                running.append(self._space.candidate_from(trial.params))
                continue
            finished.append(trial)
        # In the order in which they finished, as a sampler that saw each of them finish had them.
        finished.sort(key=_finish_order)
        self._taken.update(trial.number for trial in finished)
        metric = self._space.metric
        self._designer.update(
            _finished(each, metric, *self._space.candidate_from(each.params)) for each in finished
        )
        return running


def _finish_order(trial: FrozenTrial) -> tuple[int, datetime, int]:
    """As that of a study's records; trials of another Optuna study have only their times."""
    assert trial.datetime_complete is not None
    return trial.user_attrs.get(FINISH, 0), trial.datetime_complete, trial.number


def _finished(trial: FrozenTrial, metric: Metric, run: int, compression: int) -> Trial:
    if trial.state != TrialState.COMPLETE:
        state = trial.user_attrs.get(FAILURE, {}).get("state")
        return Trial(run, compression, None, cause=_CAUSES.get(state, FailureCause.COMPRESSION))
    if not math.isfinite(trial.values[0]):
        return Trial(run, compression, None)
    quality = metric.quality(trial.values[0])
    return Trial.of_result(run, compression, quality, trial.user_attrs.get(RESULT, {}), metric)
