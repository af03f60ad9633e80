"""The ``frontier`` sampler for Optuna: greatest expected gain in hypervolume per second.

In a study of tlc it is an adapter of the designer (``designer.py``), which knows the search space:
which trials share training, what inference costs before training, and what a trial would take now.
In any other study it is Optuna's Gaussian process sampler.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from search.samplers.base import (
    MustWaitError,
    SpaceExhaustedError,
    StudySampler,
    failure_of,
    refuse_if_converged,
)
from search.samplers.frontier.acquisition import Proposal
from search.samplers.frontier.cost_model import CostModel
from search.samplers.frontier.designer import Designer
from search.samplers.frontier.history import CAUSES, FailureCause, Trial
from search.samplers.frontier.search_design_space import SearchDesignSpace
from search.storage.optuna_space import without_repeats
from search.storage.states import OUTDATED
from search.storage.trials import FINISH, RESULT
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria


class FrontierSampler(StudySampler):
    """Greatest expected hypervolume improvement per second.

    Args:
        space: The design space of a study of tlc; None for any other study.
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
        super().__init__(GPSampler(seed=seed) if space is None else RandomSampler(seed=seed))
        self._space = space
        self._stops = stops
        self._taken: set[int] = set()
        self._next: Proposal | None = None
        if space is not None:
            cost_model = CostModel(space.design_space)
            for trial in space.earlier:
                cost_model.learn(trial)
            self._designer = Designer(space.design_space, seed or 0, cost_model=cost_model)
            self._designer.learn(space.earlier)

    def check(self, study: optuna.Study) -> None:
        """Choose the next candidate."""
        running = self._update(study)
        proposal = self._designer.proposals(running).best()
        if proposal is None:
            raise MustWaitError if running else SpaceExhaustedError
        if self._stops:
            refuse_if_converged(proposal.rate, self._designer.average_rate)
        self._next = proposal

    def should_compress_again(self, study: optuna.Study, training: Configuration) -> bool:
        """Whether another compression of the model that is trained has the greatest expected gain.

        If so, it is the next candidate.
        """
        assert self._space is not None
        run = self._space.run_of(training)
        proposal = self._designer.proposals(self._update(study), in_memory=run).best()
        self._next = proposal if proposal is not None and proposal.run == run else None
        return self._next is not None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole grid of a search; in any other study, what Optuna's sampler chooses."""
        if self._space is not None:
            return self._space.distributions
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters of the next trial together."""
        if self._space is None:
            # Empty while Optuna's sampler has too few trials for a model.
            return self._inner.sample_relative(study, trial, search_space) or {
                name: self.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        if self._next is None:
            self.check(study)
        assert self._next is not None
        chosen, self._next = self._next, None
        return self._space.parameters(*chosen.candidate)

    def _update(self, study: optuna.Study) -> list[tuple[int, int]]:
        """Update the designer with new finished trials; returns the running candidates."""
        assert self._space is not None
        grid = self._space.distributions.keys()
        running: list[tuple[int, int]] = []
        finished: list[FrozenTrial] = []
        for trial in without_repeats(study.get_trials(deepcopy=False)):
            # A trial without all parameters is the one being asked for.
            if trial.number in self._taken or grid - trial.params.keys():
                continue
            if trial.state.is_finished():
                if failure_of(trial) != OUTDATED:
                    finished.append(trial)
            else:
                running.append(self._space.candidate_from(trial.params))
        # In the order in which they finished, so that a sampler that is made again agrees.
        finished.sort(key=_finish_order)
        self._taken.update(trial.number for trial in finished)
        self._designer.update(
            _finished(trial, self._space.criteria, *self._space.candidate_from(trial.params))
            for trial in finished
        )
        return running


def _finish_order(trial: FrozenTrial) -> tuple[int, datetime, int]:
    """The order of a study's records; trials of another Optuna study have only their times."""
    assert trial.datetime_complete is not None
    return trial.user_attrs.get(FINISH, 0), trial.datetime_complete, trial.number


def _finished(trial: FrozenTrial, criteria: Criteria, run: int, compression: int) -> Trial:
    if trial.state != TrialState.COMPLETE:
        cause = CAUSES.get(failure_of(trial), FailureCause.COMPRESSION)
        return Trial(run, compression, None, cause=cause)
    if not math.isfinite(trial.values[0]):
        return Trial(run, compression, None)
    result = {"score": trial.values[0], **trial.user_attrs.get(RESULT, {})}
    return Trial.of_result(run, compression, result, criteria.metrics)
