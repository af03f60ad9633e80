"""What sending to MLflow has in common for searches of any kind: its runs, and who may send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import yaml

from search.storage.trials import TrialRecord
from search.tracking.client import mlflow_client
from search.tracking.remote_state import KEY, PARENT_TAG, RemoteState, read_remote_state
from search.tracking.trial_run import milliseconds
from spaces.file.storage import Locations

DESCRIPTION = "mlflow.note.content"
HIDDEN = ("storage", "address")
"""Fields of a search that are not logged: their URLs can hold passwords."""


class LeaseLost(Exception):
    """Another process runs the search now, and sends it to MLflow."""


class RunSync:
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
            client = mlflow_client(self._where.tracking_uri)
            self._known = read_remote_state(client, self._name, self._study_id, self._where)
        return self._known

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


def set_status(
    remote: RemoteState, parent: str, status: str, records: Iterable[TrialRecord[Any]]
) -> None:
    """Set the status of the run of a search: ``RUNNING``, ``FINISHED`` or ``KILLED``."""
    if status == remote.status:
        return
    if status == "RUNNING":
        remote.client.update_run(parent, status=status)
    else:
        # The end of its last trial, also if this is sent an hour later.
        last_end = max((r.finished for r in records if r.finished), default=None)
        remote.client.set_terminated(parent, status, milliseconds(last_end))
    remote.status = status
