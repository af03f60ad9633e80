"""Sends to MLflow what a study with a function has and MLflow lacks: a run for each trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from search.pareto import best, feasible, in_finish_order
from search.results.functions import members_of
from search.storage.function_study import FunctionStudy
from search.storage.trials import TrialRecord
from search.tracking.client import as_tags, log_in_batches
from search.tracking.remote_state import (
    PARENT,
    STEPS_SENT,
    DeletedInMlflow,
    RemoteState,
    RunState,
)
from search.tracking.run_sync import DESCRIPTION, RunSync, log_search, set_status
from search.tracking.trial_run import milliseconds, state_tags
from spaces.file.storage import Locations
from spaces.functions.points import Values

if TYPE_CHECKING:
    from mlflow.entities import Metric

Record = TrialRecord[Values]


class FunctionSync(RunSync):
    """Sends the difference between a study and MLflow, as ``MlflowSync`` does.

    Args:
        has_lost_lease: Whether another process has taken over; asked before anything is created.
    """

    def __init__(
        self,
        study: FunctionStudy,
        where: Locations,
        has_lost_lease: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(study.search.name, study.study_id, where, has_lost_lease)
        self._study = study

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow lacks; returns how many trials were sent.

        Args:
            with_figures: Whether this is the last sending; there are no figures.
            is_running: Whether the search is running: it decides the status of the parent run.

        Raises:
            LeaseLost: Another process has taken over.
            Exception: Any error of MLflow or its transport; call ``reset`` before the next try.
        """
        self._check_lease()
        remote = self._remote_state()
        records = self._study.records()
        parent = self._parent(remote, records)
        members = {each.number for each in members_of(records, self._study.criteria)}
        sent = 0
        for record in records:
            state = RunState(record.state, record.number in members, parent)
            key = str(record.number)
            if remote.run_states.get(key) != state and key not in remote.deleted:
                self._send_trial(remote, record, state)
                remote.run_states[key] = state
                sent += 1
        self._send_progress(remote, parent, records)
        self._send_status(remote, parent, records, is_running)
        return sent

    def _parent(self, remote: RemoteState, records: list[Record]) -> str:
        """The run of the search, created and filled if MLflow has none."""
        search = self._study.search
        if PARENT in remote.deleted:
            raise DeletedInMlflow(f"the run of search {search.name!r} was deleted in MLflow")
        if PARENT in remote.run_states:
            return remote.runs[PARENT]
        start_ms = milliseconds(min((r.started for r in records if r.started), default=None))
        run = self._run(remote, PARENT, f"search {search.name}", start_ms)
        objectives = ", ".join(f"{way} {name}" for name, way in search.objectives.items())
        params = {"objectives": objectives, "seed": search.seed, "version": search.version}
        # A resumed search can change these, and in MLflow only tags can change.
        tags = {"tlc.trials": str(search.trials), "tlc.sampler": search.sampler}
        tags[DESCRIPTION] = (
            f"A search with a function of yours as its objective: {objectives}. Each trial is a "
            f"run nested in this one; `on_frontier` marks those that no other beats. "
            f'`tlc.open("{search.name}")` has the results in Python.'
        )
        log_in_batches(remote.client, run, [], params, tags)
        log_search(remote, run, search.to_dict())
        remote.run_states[PARENT] = RunState("described", on_frontier=False, parent="")
        return run

    def _send_trial(self, remote: RemoteState, record: Record, state: RunState) -> None:
        from mlflow.entities import Metric

        key, client = str(record.number), remote.client
        before = remote.run_states.get(key)
        name = f"#{record.number} {record.configuration}"[:250]
        run = self._run(remote, key, name, milliseconds(record.started), state.parent)
        if before is not None and before.state == record.state:
            client.log_batch(run, tags=as_tags(state_tags(state)))
            return
        metrics = []
        if record.is_complete:
            # The time in the record and not that of sending, so that sending twice adds no rows.
            timestamp, result = milliseconds(record.finished) or 0, record.result
            values = {**result["metrics"], "seconds": result["seconds"]}
            metrics = [Metric(each, value, timestamp, 0) for each, value in values.items()]
        tags = state_tags(state)
        if record.is_finished and not record.is_complete:
            tags["tlc.message"] = record.message[:500]
        params = {**record.configuration.params, "trial_seed": record.configuration.seed}
        log_in_batches(client, run, metrics, params, tags)
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            client.set_terminated(run, status, milliseconds(record.finished))

    def _send_progress(self, remote: RemoteState, parent: str, records: list[Record]) -> None:
        """The best score, and how many trials are on the frontier, after each finished trial."""
        finished = in_finish_order(records)
        new = range(remote.steps_sent + 1, len(finished) + 1)
        metrics = [metric for count in new for metric in self._progress(finished[:count])]
        if len(new):
            tags = {STEPS_SENT: str(len(finished))}
            log_in_batches(remote.client, parent, metrics, {}, tags)
            remote.steps_sent = len(finished)

    def _progress(self, finished: list[Record]) -> list[Metric]:
        from mlflow.entities import Metric

        criteria = self._study.criteria
        timestamp = milliseconds(finished[-1].finished) or 0
        leader = best(finished, criteria, {})
        values = {"complete": float(sum(each.is_complete for each in finished))}
        if leader is not None:
            values[f"best_{criteria.metric.name}"] = leader.result["score"]
            values["feasible"] = float(len(feasible(finished, criteria)))
        return [Metric(name, value, timestamp, len(finished)) for name, value in values.items()]

    def _send_status(
        self, remote: RemoteState, parent: str, records: list[Record], is_running: bool | None
    ) -> None:
        if is_running:
            status = "RUNNING"
        elif sum(each.is_finished for each in records) >= self._study.search.trials:
            status = "FINISHED"
        elif is_running is False:
            status = "KILLED"
        else:
            return
        set_status(remote, parent, status, records)
