"""The interface between a search and its sampler, beyond Optuna's ``BaseSampler``."""

from __future__ import annotations

from typing import Protocol

import optuna

from spaces.cost.configuration import Configuration


class SpaceExhaustedError(Exception):
    """Every feasible configuration was tried."""

    def __str__(self) -> str:
        return "every feasible configuration was tried"


class MustWaitError(Exception):
    """Every configuration left shares its training with a running trial."""


class ConvergedError(Exception):
    """The expected gain of every configuration left is too small."""


class StudySampler(Protocol):
    """An Optuna sampler that can be asked before a trial is created."""

    def check(self, study: optuna.Study) -> None:
        """Make sure that there is a configuration to propose.

        Raises:
            SpaceExhaustedError: Every feasible configuration was tried.
            MustWaitError: Every configuration left must wait for a running trial.
            ConvergedError: The expected gain of every configuration left is too small.
        """
        ...

    def should_compress_again(self, study: optuna.Study, training: Configuration) -> bool:
        """Whether the next trial should be another compression of the model that is trained."""
        ...
