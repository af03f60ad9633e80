"""What sending to MLflow has in common for searches of any kind: its runs, and who may send."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

from search.storage.trials import TrialRecord
from search.tracking.client import is_rejection, log_in_batches, mlflow_client
from search.tracking.remote_state import (
    KEY,
    PARENT,
    PARENT_TAG,
    STEPS_SENT,
    RemoteState,
    RunState,
    read_remote_state,
)
from search.tracking.trial_run import milliseconds
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow.entities import Metric

FIGURE_SECONDS = 15.0
DESCRIPTION = "mlflow.note.content"
HIDDEN = ("storage", "address")
"""Fields of a search that are not logged: their URLs can hold passwords."""


class LeaseLost(Exception):
    """Another process runs the search now, and sends it to MLflow."""


@dataclass(frozen=True)
class SoFar:
    """How far a search is.

    Args:
        finished: Number of finished trials.
        running: Number of those that run.
        last_end: When the last one finished.
    """

    finished: int = 0
    running: int = 0
    last_end: datetime | None = None

    def then(self, records: Iterable[TrialRecord[Any]], running: int) -> SoFar:
        """How far it is after further finished trials."""
        ends = [record.finished for record in records]
        known = [end for end in (self.last_end, *ends) if end is not None]
        return SoFar(self.finished + len(ends), running, max(known, default=None))


class RunSync(ABC):
    """The runs of a study in MLflow.

    MLflow has no unique keys: two processes that send at once would create runs twice.

    Args:
        name: Name of the search, and of its experiment.
        study_id: Its study's.
        has_lost_lease: Whether another process has taken over; asked before anything is created.
    """

    def __init__(
        self, name: str, study_id: str, where: Locations, has_lost_lease: Callable[[], bool]
    ) -> None:
        self._name = name
        self._study_id = study_id
        self._where = where
        self._has_lost_lease = has_lost_lease
        self.reset()

    def reset(self) -> None:
        """Read MLflow again before the next sending, as after an error."""
        self._known: RemoteState | None = None

    def _check_lease(self) -> None:
        """Stop if another process sends: this one may wake up from a suspension at any point."""
        if self._has_lost_lease():
            raise LeaseLost

    def _remote_state(self) -> RemoteState:
        if self._known is None:
            client = mlflow_client(self._where)
            self._known = read_remote_state(client, self._name, self._study_id, self._where)
        return self._known

    def _send_trials(
        self, remote: RemoteState, records: Iterable[TrialRecord[Any]], members: Set[int]
    ) -> tuple[int, Exception | None]:
        """Send the trials that MLflow lacks, or has in another state.

        Args:
            members: Numbers of those on the frontier.

        Returns:
            How many were sent, and the error where MLflow rejected one: the others are sent all the
            same.
        """
        sent, rejection = 0, None
        for record in records:
            on_frontier = record.number in members
            state = RunState.of(record, on_frontier=on_frontier, parent=remote.runs[PARENT])
            key = str(record.number)
            if remote.run_states.get(key) == state or key in remote.deleted:
                continue
            try:
                self._send_trial(remote, record, state)
            except Exception as error:
                if not is_rejection(error):
                    raise
                rejection = error
                continue
            remote.run_states[key] = state
            sent += 1
        return sent, rejection

    @abstractmethod
    def _send_trial(self, remote: RemoteState, record: Any, state: RunState) -> None:
        """Send one trial, or what has changed of it."""

    def _send_steps(self, remote: RemoteState, metrics: list[Metric], count: int) -> None:
        """Send the metrics of the search after each finished trial that MLflow lacks.

        Args:
            count: Number of finished trials.
        """
        self._check_lease()
        if metrics:
            # A call writes its tags after its metrics: the count is never ahead of them.
            tags = {STEPS_SENT: str(count)}
            log_in_batches(remote.client, remote.runs[PARENT], metrics, {}, tags)
            remote.steps_sent = count

    def _send_status(
        self, remote: RemoteState, so_far: SoFar, trials: int, is_running: bool | None
    ) -> None:
        """Set the status of the run of the search.

        Args:
            trials: Trials after which the search ends.
            is_running: Whether it is running, if that is known.
        """
        self._check_lease()
        is_done = so_far.finished >= trials
        if is_running:
            status = "RUNNING"
        elif is_done or (is_running is False and not so_far.running):
            status = "FINISHED"
        elif is_running is False:
            status = "KILLED"
        else:
            return
        _set_status(remote, status, so_far.last_end)

    def _run(
        self, remote: RemoteState, key: str, name: str, start_ms: int | None, parent: str = ""
    ) -> str:
        """The run of a key, created if MLflow has none."""
        if key not in remote.runs:
            self._check_lease()
            tags = {KEY: f"{self._study_id}/{key}", "mlflow.source.name": "tlc"}
            if parent:
                tags[PARENT_TAG] = parent
            run = remote.client.create_run(
                remote.experiment, start_time=start_ms, run_name=name, tags=tags
            )
            remote.runs[key] = run.info.run_id
        return remote.runs[key]


def log_search(remote: RemoteState, run: str, document: dict[str, Any]) -> None:
    """Log a search as ``search.yaml``, without what may hold passwords."""
    public = {key: value for key, value in document.items() if key not in HIDDEN}
    text = yaml.safe_dump(public, sort_keys=False, allow_unicode=True)
    remote.client.log_text(run, text, "search.yaml")


def _set_status(remote: RemoteState, status: str, last_end: datetime | None) -> None:
    if status == remote.status:
        return
    parent = remote.runs[PARENT]
    if status == "RUNNING":
        remote.client.update_run(parent, status=status)
    else:
        # The end of its last trial, also if this is sent an hour later.
        remote.client.set_terminated(parent, status, milliseconds(last_end))
    remote.status = status
