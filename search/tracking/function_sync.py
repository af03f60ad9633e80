"""Sends to MLflow what a study with a function has and MLflow lacks: a run for each trial."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from search.mlflow_links import server_url
from search.pareto import feasible, in_finish_order, leaders
from search.storage.function_study import FunctionStudy
from search.storage.trials import TrialRecord
from search.tracking.client import as_tags, log_in_batches
from search.tracking.remote_state import PARENT, DeletedInMlflow, RemoteState, RunState
from search.tracking.run_sync import DESCRIPTION, FIGURE_SECONDS, RunSync, SoFar, log_search
from search.tracking.trial_run import milliseconds, state_tags
from spaces.cost.criteria import Criteria
from spaces.file.storage import Locations
from spaces.functions.points import Values

if TYPE_CHECKING:
    from mlflow.entities import Metric

Record = TrialRecord[Values]

NO_MLFLOW_NAME = re.compile(r"[^\w./: -]")
"""Characters that MLflow refuses in the name of a metric, such as that of ``accuracy@1``."""


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
        self._figures_sent = 0.0

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow lacks; as ``MlflowSync.send``."""
        self._check_lease()
        remote = self._remote_state()
        records, criteria = self._study.records(), self._study.criteria
        self._parent(remote, records)
        members = {each.number for each in leaders(records, criteria)}
        sent, rejection = self._send_trials(remote, records, members)
        steps = _metrics_over_trials(records, criteria)
        metrics = [metric for step in steps[remote.steps_sent :] for metric in step]
        self._send_steps(remote, metrics, len(steps))
        if with_figures or (sent and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(remote)
            self._figures_sent = time.monotonic()
        finished = [record for record in records if record.is_finished]
        so_far = SoFar().then(finished, len(records) - len(finished))
        self._send_status(remote, so_far, self._study.search.trials, is_running)
        if rejection is not None:
            raise rejection
        return sent

    def _parent(self, remote: RemoteState, records: list[Record]) -> None:
        """Create and fill the run of the search if MLflow has none."""
        search = self._study.search
        if PARENT in remote.deleted:
            raise DeletedInMlflow(f"the run of search {search.name!r} was deleted in MLflow")
        if PARENT in remote.run_states:
            return
        start_ms = milliseconds(min((r.started for r in records if r.started), default=None))
        run = self._run(remote, PARENT, f"search {search.name}", start_ms)
        objectives = ", ".join(f"{way} {name}" for name, way in search.objectives.items())
        params = {"objectives": objectives, "seed": search.seed, "version": search.version}
        # A resumed search can change these, and in MLflow only tags can change.
        tags = {"tlc.trials": str(search.trials), "tlc.sampler": search.sampler}
        tags[DESCRIPTION] = (
            f"A search with a function of yours as its objective: {objectives}. Each trial is a "
            f"run nested in this one; `on_frontier` marks those that no other beats, and the "
            f"artefact `frontier/frontier.html` shows them. "
            f'`tlc.open("{search.name}")` has the results in Python.'
        )
        log_in_batches(remote.client, run, [], params, tags)
        log_search(remote, run, search.to_dict())
        remote.run_states[PARENT] = RunState("described", on_frontier=False, parent="")

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
            metrics = [
                Metric(NO_MLFLOW_NAME.sub("_", each), value, timestamp, 0)
                for each, value in values.items()
            ]
        tags = state_tags(state)
        if record.is_finished and not record.is_complete:
            tags["tlc.message"] = record.message[:500]
        params = {**record.configuration.params, "trial_seed": record.configuration.seed}
        log_in_batches(client, run, metrics, params, tags)
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            client.set_terminated(run, status, milliseconds(record.finished))

    def _send_figures(self, remote: RemoteState) -> None:
        # Loads the libraries that draw.
        from search.plots.function_figures import write_function_figures

        server = server_url(self._where.tracking_uri)
        with tempfile.TemporaryDirectory() as name:
            write_function_figures(self._study, Path(name), remote.links, server)
            remote.client.log_artifacts(remote.runs[PARENT], name, "frontier")


def _metrics_over_trials(records: Iterable[Record], criteria: Criteria) -> list[list[Metric]]:
    """The best score, and how many trials are complete and feasible, after each finished trial."""
    from mlflow.entities import Metric

    finished = in_finish_order(records)
    within = {record.number for record in feasible(finished, criteria)}
    better = max if criteria.metric.is_maximised else min
    name = f"best_{criteria.metric.name}"
    values = {"complete": 0.0}
    steps = []
    for step, record in enumerate(finished, start=1):
        timestamp = milliseconds(record.finished) or 0
        values["complete"] += record.is_complete
        if record.number in within:
            score = record.result["score"]
            values[name] = better(values.get(name, score), score)
            values["feasible"] = values.get("feasible", 0.0) + 1.0
        steps.append([Metric(key, value, timestamp, step) for key, value in values.items()])
    return steps
