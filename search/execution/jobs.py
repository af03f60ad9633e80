"""What a run has to do: the trials that a sampler chooses, or repeats with further seeds.

A job is what one worker evaluates in a row: trials that share a trained model, or its training.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Protocol

from search.samplers.base import StudySampler
from search.seeds import Repeat
from search.storage.base_study import BaseStudy
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.cost.configuration import Settings

LARGEST_JOB = 4
"""Trials of one job, compressions of one model: enough to reuse a model in memory, few enough to
leave one that turns out to be poor."""

ENQUEUED = "fixed_params"
"""Optuna's attribute of a trial with the parameters that were enqueued."""


def enqueue(study: BaseStudy[Any], trials: Iterable[Mapping[str, Any]]) -> int:
    """Enqueue trials that are not enqueued already, by their parameters in Optuna; returns how many
    wait."""
    # Optuna itself would skip what an outdated trial has tried.
    known = [trial.system_attrs.get(ENQUEUED) for trial in study.waiting()]
    for parameters in trials:
        if parameters not in known:
            study.optuna.enqueue_trial(dict(parameters))
    return len(study.waiting())


class Jobs(Protocol):
    """A source of jobs."""

    @property
    def are_over(self) -> bool:
        """Whether no further job is to start."""
        ...

    def next(self) -> list[TrialRecord[Any]]:
        """Create the trials of the next job.

        Raises:
            SpaceExhaustedError: Every feasible configuration was tried.
            MustWaitError: Every configuration left must wait for a running trial.
            ConvergedError: The expected gain of every configuration left is too small.
        """
        ...


class SampledJobs:
    """Trials that the study's sampler chooses: one, and further compressions of its model.

    Args:
        sampler: May be replaced by another one.
        trials: Number of trials in all; enqueued ones are run beyond it.
        deadline: Monotonic time after which no new trial starts.
    """

    def __init__(
        self, study: BaseStudy[Any], sampler: StudySampler, *, trials: int, deadline: float
    ) -> None:
        self._study = study
        self.sampler = sampler
        self._trials = trials
        self._deadline = deadline
        self._count = len(study.records())

    @property
    def are_over(self) -> bool:
        """Whether there are enough trials, or time is up."""
        is_enough = self._count >= self._trials and not self._study.has_enqueued
        return is_enough or time.monotonic() > self._deadline

    def next(self) -> list[TrialRecord[Any]]:
        """Ask the sampler."""
        if self._study.has_enqueued:
            # Optuna's ask() takes them before it asks the sampler, which may have nothing left.
            return [self._ask()]
        self.sampler.check(self._study.optuna)
        job = [self._ask()]
        while (
            len(job) < LARGEST_JOB
            and not self.are_over
            and self.sampler.should_compress_again(self._study.optuna, job[0].configuration)
        ):
            job.append(self._ask())
        return job

    def _ask(self) -> TrialRecord[Any]:
        record = self._study.ask()
        self._count += 1
        return record


class RepeatJobs:
    """Repeats of trials; those of one stable path and seed, which share training, are one job."""

    def __init__(self, study: Study, repeats: Sequence[Repeat]) -> None:
        self._study = study
        ordered = sorted(repeats, key=_shared_training)
        groups = itertools.groupby(ordered, lambda each: _shared_training(each)[:2])
        self._groups = [list(group) for _, group in groups]

    @property
    def are_over(self) -> bool:
        """Whether every repeat was started."""
        return not self._groups

    def next(self) -> list[TrialRecord[Any]]:
        """Start the repeats of the next stable path and seed."""
        return [self._study.repeat(each.number, each.seed) for each in self._groups.pop(0)]


def _shared_training(repeat: Repeat) -> tuple[int, tuple[Any, ...], float, Settings]:
    """Sort key: what shares training stands together, the shortest first."""
    configuration = repeat.configuration
    architecture, settings = configuration.stable_path
    path = (astuple(architecture), settings)
    return repeat.seed, path, configuration.budget, configuration.training
