"""What a search asks of its sampler, beside what Optuna asks of it."""

from __future__ import annotations

from typing import Protocol

import optuna

from spaces.cost.configuration import Configuration


class SpaceExhaustedError(Exception):
    """Every configuration that can be feasible has been tried."""

    def __str__(self) -> str:
        return "every feasible configuration was tried"


class MustWaitError(Exception):
    """What is left shares its training with a running trial."""


class ConvergedError(Exception):
    """No trial is worth its seconds any more."""


class StudySampler(Protocol):
    """An Optuna sampler that can be asked before a trial is created."""

    def check(self, study: optuna.Study) -> None:
        """Make sure that there is something to propose.

        Raises:
            SpaceExhaustedError: Nothing new is left.
            MustWaitError: What is left must wait for a running trial.
            ConvergedError: Nothing is worth its seconds any more.
        """
        ...

    def should_compress_again(self, study: optuna.Study, training: Configuration) -> bool:
        """Whether the next trial should be another compression of what a trial trains."""
        ...
