"""The base of tlc's samplers: an Optuna sampler that is asked before a trial is created."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.storage.trials import FAILURE
from spaces.cost.configuration import Configuration


class SpaceExhaustedError(Exception):
    """Every feasible configuration was tried."""

    def __str__(self) -> str:
        return "every feasible configuration was tried"


class MustWaitError(Exception):
    """Every configuration left shares its training with a running trial."""


class ConvergedError(Exception):
    """The expected gain of every configuration left is too small."""


LEAST_FRACTION = 0.01
"""``stop: auto`` ends a search when the best candidate's expected gain per second is below this
fraction of the hypervolume per second that the search has gained on average."""


def refuse_if_converged(rate: float, average: float) -> None:
    """Raise ``ConvergedError`` if a gain per second is small, compared with that of a search on
    average."""
    if rate < LEAST_FRACTION * average:
        raise ConvergedError(
            f"the best trial left is expected to gain less than {LEAST_FRACTION:.0%} of the "
            "hypervolume per second that the search has gained on average"
        )


def failure_of(trial: FrozenTrial) -> str:
    """State of a failed trial; empty for others."""
    state: str = trial.user_attrs.get(FAILURE, {}).get("state", "")
    return state


class StudySampler(BaseSampler):
    """A sampler of a search's study.

    Args:
        inner: Optuna's sampler, for everything that this one does not decide.
    """

    def __init__(self, inner: BaseSampler) -> None:
        self._inner = inner

    @abstractmethod
    def check(self, study: optuna.Study) -> None:
        """Make sure that there is a configuration to propose, before a trial is created.

        Raises:
            SpaceExhaustedError: Every feasible configuration was tried.
            MustWaitError: Every configuration left must wait for a running trial.
            ConvergedError: The expected gain of every configuration left is too small.
        """

    def should_compress_again(self, study: optuna.Study, training: Configuration) -> bool:
        """Whether the next trial should be another compression of the model that is trained.

        False for a sampler that does not know which trials share training.
        """
        return False

    def reseed_rng(self) -> None:
        """Seed the random numbers anew, as Optuna's parallel workers ask."""
        self._inner.reseed_rng()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter that is not in the search space."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Forwarded to Optuna's sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forwarded to Optuna's sampler."""
        self._inner.after_trial(study, trial, state, values)
