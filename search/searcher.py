"""A Ray Tune searcher over the study's ask and tell.

Ray's own ``OptunaSearch`` leaves NaN results running for ever, tells stopped trials as complete and
refuses results after a restore. Here the study is told what happened, and nothing else keeps state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from search.records import Record
from search.sampler import AllBusyError, FeasibleSampler, SpaceExhaustedError
from search.study import Study


class StudySearcher(Searcher):  # type: ignore[misc]
    """Gives Ray Tune the next trial and tells the study how each ended.

    Args:
        study: The record; its sampler is ``sampler``.
        sampler: The sampler, which is told what runs.
        unfinished: Trials of a dead driver, which go first.
        deadline: Monotonic time after which no new trial starts.
        on_change: Called with a record when a trial starts or ends.
    """

    def __init__(
        self,
        study: Study,
        sampler: FeasibleSampler,
        *,
        unfinished: list[Record],
        deadline: float,
        on_change: Callable[[Record], None],
    ) -> None:
        super().__init__()
        self._study = study
        self._sampler = sampler
        self._unfinished = list(unfinished)
        self._deadline = deadline
        self._on_change = on_change
        self._running: dict[str, Record] = {}
        self._count = len(study.records())
        self.exhausted = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, None to wait, or ``FINISHED``."""
        if self._unfinished:
            record = self._unfinished.pop(0)
        elif self._count >= self._study.search.trials or time.monotonic() > self._deadline:
            return str(Searcher.FINISHED)
        else:
            try:
                self._sampler.next_point()
                record = self._study.ask()
            except SpaceExhaustedError:
                self.exhausted = True
                return str(Searcher.FINISHED)
            except AllBusyError:
                return None
            self._count += 1
            self._sampler.started(record.configuration)
        self._running[trial_id] = record
        self._on_change(record)
        return {"number": record.number, "configuration": record.configuration.to_dict()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        record = self._running.pop(trial_id, None)
        if record is None:
            return
        self._sampler.finished(record.configuration.architecture)
        if error or not result:
            outcome: dict[str, Any] = {"state": "worker_died", "message": "its process died twice"}
        else:
            outcome = json.loads(result["outcome"])
        if outcome["state"] == "complete":
            self._study.tell_result(record.number, outcome["result"], outcome["curve"])
        else:
            self._study.tell_failure(record.number, outcome["state"], outcome["message"])
        self._on_change(self._study.record(record.number))

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that is never made.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher starts from the study."""
