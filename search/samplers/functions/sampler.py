"""The ``frontier`` sampler of a search with a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from search.samplers.base import (
    MustWaitError,
    SpaceExhaustedError,
    StudySampler,
    refuse_if_converged,
)
from search.samplers.frontier.designer import FIRST_FIT, fit_size
from search.samplers.functions.design import Finished, FunctionDesign, cause_of
from search.samplers.functions.points import Points
from search.storage.optuna_space import distributions
from search.storage.trials import FAILURE, FINISH, RESULT
from spaces.functions.points import FunctionSpace


class FunctionSampler(StudySampler):
    """Greatest expected gain per second, over dimensions of any kind.

    With one objective the gain is that of the score; with several, that of the hypervolume.

    Args:
        tried: Parameters of the trials of earlier runs.
        seed: The same seed and results give the same choices.
        earlier: Finished trials of earlier searches.
        stops: Whether to stop when the expected gain has become small.
    """

    def __init__(
        self,
        space: FunctionSpace,
        tried: Sequence[dict[str, Any]],
        *,
        seed: int,
        earlier: Sequence[Finished] = (),
        stops: bool = False,
    ) -> None:
        super().__init__(RandomSampler(seed=seed))
        self._distributions = distributions(space)
        self._earlier = earlier
        self._stops = stops
        self._points = Points(space, tried, seed, [each.parameters for each in earlier])
        self._stages = self._points.stages()
        self._seed = seed
        self._finished: list[Finished] = []
        self._taken: set[int] = set()
        self._made_of = -1
        """Finished trials that the design was made of."""
        self._design: FunctionDesign
        self._next: int | None = None

    def check(self, study: optuna.Study) -> None:
        """Choose the next point."""
        running = self._update(study)
        proposal = self._design.designer.proposals(running).best()
        if proposal is None:
            raise MustWaitError if running else SpaceExhaustedError
        if self._stops:
            refuse_if_converged(proposal.rate, self._design.designer.average_rate)
        self._next = proposal.run

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole grid."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters of the next trial together."""
        if self._next is None:
            self.check(study)
        assert self._next is not None
        chosen, self._next = self._next, None
        return self._points.parameters(chosen)

    def _update(self, study: optuna.Study) -> list[tuple[int, int]]:
        """Learn from new finished trials; returns the candidates that are running."""
        running: list[tuple[int, int]] = []
        new: list[FrozenTrial] = []
        for trial in study.get_trials(deepcopy=False):
            # A trial without all parameters is the one being asked for.
            if trial.number in self._taken or self._distributions.keys() - trial.params.keys():
                continue
            if trial.state.is_finished():
                new.append(trial)
            elif (point := self._points.index(trial.params)) is not None:
                running.append((point, 0))
        # In the order in which they finished, so that a sampler that is made again agrees.
        new.sort(key=lambda trial: (trial.user_attrs.get(FINISH, 0), trial.number))
        self._taken.update(trial.number for trial in new)
        finished = list(map(_finished, new))
        self._finished += finished
        count = len(self._finished)
        due = count if count < FIRST_FIT else fit_size(count)
        if due != self._made_of:
            self._made_of = due
            known = self._finished[:due]
            self._design = FunctionDesign(
                self._points, known, self._stages, self._seed, self._earlier
            )
            finished = self._finished[due:]
        self._design.add(finished)
        return running


def _finished(trial: FrozenTrial) -> Finished:
    if trial.state == TrialState.COMPLETE:
        return Finished(trial.params, trial.user_attrs.get(RESULT, {}))
    state = trial.user_attrs.get(FAILURE, {}).get("state", "")
    return Finished(trial.params, {}, cause_of(state))
