"""The GPU-hours of a run: what its jobs occupy, whether they end well or not."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray import tune

from search.storage.trials import Occupied, TrialRecord, gpu_hours


@dataclass
class _Job:
    """A running job.

    Args:
        numbers: Its trials that have not finished, the one that runs first.
        gpus: Those of all its workers.
        since: Monotonic time up to which its seconds are counted.
    """

    numbers: list[int]
    gpus: float
    since: float

    @property
    def gpu_seconds(self) -> float:
        """GPU-seconds that are not counted yet."""
        return self.gpus * (time.monotonic() - self.since)


class GpuMeter(tune.Callback):  # type: ignore[misc]
    """Counts the GPU-seconds of jobs, from when they have their workers; Ray Tune calls it.

    Args:
        earlier: Trials of the study so far.
        budget_hours: GPU-hours of the study after which no new trial starts.
    """

    def __init__(self, earlier: Iterable[TrialRecord[Any]], budget_hours: float | None) -> None:
        self._budget_hours = budget_hours
        self._counted = 3600.0 * gpu_hours(earlier)
        self._jobs: dict[str, _Job] = {}
        self._of_trial: defaultdict[int, float] = defaultdict(float)
        """GPU-seconds of trials that have not finished."""

    @property
    def used_up(self) -> str:
        """That the budget is used up; empty while it is not."""
        used = self._counted + sum(job.gpu_seconds for job in self._jobs.values())
        if self._budget_hours is None or used < 3600.0 * self._budget_hours:
            return ""
        return f"the budget of {self._budget_hours:g} GPU-hours is used up"

    def occupied_by(self, number: int) -> Occupied:
        """What a trial occupied, which finishes now."""
        gpus = 0.0
        for job in self._jobs.values():
            if number in job.numbers:
                self._count(job)
                job.numbers.remove(number)
                gpus = job.gpus
        return Occupied(gpus, self._of_trial.pop(number, 0.0))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Count from now on."""
        gpus = trial.placement_group_factory.required_resources.get("GPU", 0.0)
        numbers = list(trial.config["numbers"])
        self._jobs[trial.trial_id] = _Job(numbers, gpus, time.monotonic())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Count a job that has ended, or whose worker has died."""
        if (job := self._jobs.pop(trial.trial_id, None)) is not None:
            self._count(job)

    on_trial_error = on_trial_complete

    def _count(self, job: _Job) -> None:
        seconds, job.since = job.gpu_seconds, time.monotonic()
        self._counted += seconds
        if job.numbers:
            # Its trials run one after another.
            self._of_trial[job.numbers[0]] += seconds

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that is never made.
        return {}
