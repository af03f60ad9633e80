"""A Ray Tune searcher over the study's ask and tell.

Ray's own ``OptunaSearch`` leaves trials with NaN results running, records stopped trials as
complete and refuses results after a restore. Here the study records what happened and is the only
state.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ray.tune.search import Searcher

from search.execution.gpus.meter import GpuMeter
from search.execution.jobs import Jobs
from search.execution.trial_retries import Death, Deaths
from search.samplers.base import ConvergedError, MustWaitError, SpaceExhaustedError
from search.storage.base_study import BaseStudy
from search.storage.trials import TrialRecord, record_occupied
from spaces.file.resources import Retries


@dataclass(eq=False, repr=False)
class StudySearcher(Searcher):  # type: ignore[misc]
    """Gives Ray Tune the next job and records in the study how its trials ended.

    Args:
        jobs: What there is to run.
        unfinished: Trials of an earlier run, which are first.
        death_of: How a job's worker died, by the job's id in Tune.
        retries: How often a trial is continued after the death of its worker.
        meter: Counts the GPU-seconds of jobs.
        may_start: Whether another job may start now beside those of some configurations.
        on_change: Called with a record when a trial starts or ends.
        warn: Called with a line when a worker died or a checkpoint was found damaged.
        ended: Why there were no more jobs before they were over; empty otherwise.
    """

    study: BaseStudy[Any]
    jobs: Jobs
    _: KW_ONLY
    unfinished: list[TrialRecord[Any]]
    death_of: Callable[[str], Death]
    retries: Retries
    meter: GpuMeter
    may_start: Callable[[list[Any]], bool]
    on_change: Callable[[TrialRecord[Any]], None]
    warn: Callable[[str], None]
    ended: str = field(default="", init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self._waiting = [[record] for record in self.unfinished]
        self._deaths = Deaths(self.retries)
        self._running: dict[str, dict[int, TrialRecord[Any]]] = {}
        self._occupying: dict[str, Any] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job, None to wait, or ``FINISHED``."""
        if not self.may_start(list(self._occupying.values())):
            return None
        if self._waiting:
            job = self._waiting.pop(0)
        elif self.jobs.are_over or self.meter.used_up:
            return self._finished(self.meter.used_up)
        else:
            try:
                job = self.jobs.next()
            except (SpaceExhaustedError, ConvergedError) as end:
                return self._finished(str(end))
            except MustWaitError:
                return None
        self._running[trial_id] = {record.number: record for record in job}
        self._occupying[trial_id] = job[0].configuration
        for record in job:
            self.on_change(record)
        return {
            "numbers": [record.number for record in job],
            "configurations": [record.configuration.to_dict() for record in job],
        }

    def _finished(self, ended: str = "") -> str | None:
        """End the search, unless a running job may still need a second worker."""
        if self._running:
            return None
        self.ended = ended
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record how one trial of a job ended."""
        record = self._running[trial_id].pop(result["number"], None)
        # Tune reports a job's last result twice.
        if record is not None:
            self._tell(record, json.loads(result["outcome"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how the last trial of a job ended, or resume what a dead worker left."""
        if result and not error:
            self.on_trial_result(trial_id, result)
        self._occupying.pop(trial_id, None)
        left = list(self._running.pop(trial_id, {}).values())
        if not left:
            return
        # A job's trials run one after another: its worker died in the first that is left.
        first, *others = left
        death = self.death_of(trial_id)
        if self._deaths.may_continue(first.number, death):
            self.warn(f"#{first.number}: {death.message}; it resumes from its last checkpoint")
        else:
            self._tell(first, death.outcome)
            left = others
        if left:
            self._waiting.append(left)

    def _tell(self, record: TrialRecord[Any], outcome: dict[str, Any]) -> None:
        for address in outcome.get("damaged", ()):
            self.warn(
                f"#{record.number}: {address} was damaged in the store; it was removed, and the "
                "lost part was recomputed"
            )
        number, state, attempt = record.number, outcome["state"], record.attempt
        occupied = self.meter.occupied_by(number)
        if occupied.gpus:
            record_occupied(self.study.optuna, number, occupied)
        if state == "complete":
            self.study.tell_result(number, outcome["result"], outcome["curve"], attempt=attempt)
        else:
            self.study.tell_failure(
                number,
                state,
                outcome["message"],
                outcome.get("traceback", ""),
                attempt=attempt,
                latency=outcome.get("latency"),
            )
        self.on_change(self.study.record(number))

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that is never made.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher starts from the study."""
