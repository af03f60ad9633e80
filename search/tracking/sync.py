"""Sends to MLflow what a study has and MLflow lacks.

What MLflow has is read from MLflow and not remembered from what was sent: a reply can be lost, the
server can be another one than last time, and its database can be gone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from search.hypervolume import Scale
from search.mlflow_links import server_url
from search.pareto import frontier
from search.results.comparison import compared_frontier, frontier_members
from search.seeds import Repeats
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.client import as_tags, log_in_batches
from search.tracking.descriptions import experiment_description, search_description
from search.tracking.remote_state import (
    PARENT,
    REFERENCES_SENT,
    DeletedInMlflow,
    RemoteState,
    RunState,
)
from search.tracking.run_sync import DESCRIPTION, FIGURE_SECONDS, RunSync, log_search
from search.tracking.saved_views import saved_views
from search.tracking.search_run import (
    reference_metrics,
    search_dataset,
    search_metrics,
    search_params,
    search_tags,
)
from search.tracking.trial_run import (
    latency_tag,
    milliseconds,
    restated_times,
    result_tags,
    state_tags,
    trial_metrics,
    trial_name,
    trial_params,
)
from spaces.file.storage import Locations


class MlflowSync(RunSync):
    """Sends the difference between a study and MLflow.

    Args:
        has_lost_lease: Whether another process has taken over; asked before anything is created.
    """

    def __init__(
        self, study: Study, where: Locations, has_lost_lease: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(study.search.name, study.study_id, where, has_lost_lease)
        self._study = study
        self._scale = Scale.of(study.space)
        self._figures_sent = 0.0

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow lacks.

        Args:
            with_figures: Draw the figures now; otherwise at most every ``FIGURE_SECONDS``.
            is_running: Whether the search is running, if the caller knows: it decides the status
                of the parent run.

        Returns:
            How many trials were sent.

        Raises:
            LeaseLost: Another process has taken over.
            Exception: Any error of MLflow or its transport. If MLflow rejects one trial, the others
                are sent before the error is raised. Call ``reset`` before the next try.
        """
        self._check_lease()
        remote = self._remote_state()
        records, repeats = self._study.records_and_repeats()
        parent = self._parent(remote, records)
        members = {record.number for record in frontier(records, self._study.search.criteria)}
        sent, rejection = self._send_trials(remote, (*records, *repeats), members)
        self._send_references(remote, parent)
        steps = search_metrics(records, self._study.search.criteria, self._scale)
        self._send_steps(remote, steps)
        if with_figures or (sent and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(remote, parent, records, Repeats(repeats))
            self._figures_sent = time.monotonic()
        self._send_status(remote, records, self._study.search.trials, is_running)
        if rejection is not None:
            raise rejection
        return sent

    def _parent(self, remote: RemoteState, records: list[TrialRecord]) -> str:
        """The run of the search, created and filled if MLflow has none."""
        search = self._study.search
        if PARENT in remote.deleted:
            raise DeletedInMlflow(f"the run of search {search.name!r} was deleted in MLflow")
        if PARENT in remote.run_states:
            return remote.runs[PARENT]
        start_ms = milliseconds(min((r.started for r in records if r.started), default=None))
        run = self._run(remote, PARENT, f"search {search.name}: frontier and figures", start_ms)
        params, tags = search_params(self._study), search_tags(self._study)
        log_in_batches(remote.client, run, [], params, tags)
        log_search(remote, run, search.to_dict())
        if dataset := search_dataset(self._study):
            remote.client.log_inputs(run, [dataset])
        self._describe_experiment(remote, start_ms or 0)
        remote.run_states[PARENT] = RunState("described", on_frontier=False, parent="")
        return run

    def _describe_experiment(self, remote: RemoteState, start_ms: int) -> None:
        """Set the experiment's description and views, unless a user has set them."""
        search = self._study.search
        description = experiment_description(search.criteria, search.task.name, remote.links)
        tags = {DESCRIPTION: description, **saved_views(self._study.space, start_ms)}
        for key in tags.keys() - remote.experiment_tags:
            remote.client.set_experiment_tag(remote.experiment, key, tags[key])
            remote.experiment_tags.add(key)

    def _send_trial(self, remote: RemoteState, record: TrialRecord, state: RunState) -> None:
        key, unit = str(record.number), self._study.search.space.budget.unit
        start_ms = milliseconds(record.started)
        run = self._run(remote, key, trial_name(record, unit), start_ms, state.parent)
        before = remote.run_states.get(key)
        if before is not None and before.state == record.state:
            metrics = []
            if before.latency_ms != state.latency_ms:
                metrics = restated_times(record)
                remote.client.log_dict(run, record.result, "evaluation.json")
            tags = {**state_tags(state), **latency_tag(record)}
            remote.client.log_batch(run, metrics=metrics, tags=as_tags(tags))
            return
        metrics = []
        if record.is_complete:
            metrics = trial_metrics(record, self._study.curve(record.number))
        tags = {**state_tags(state), **result_tags(record)}
        log_in_batches(remote.client, run, metrics, trial_params(record, unit), tags)
        if record.is_complete:
            remote.client.log_dict(run, record.result, "evaluation.json")
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            remote.client.set_terminated(run, status, milliseconds(record.finished))

    def _send_references(self, remote: RemoteState, parent: str) -> None:
        """The metrics of the references, once they are measured."""
        references = self._study.references()
        if not references or remote.has_references:
            return
        names = ", ".join(reference.name for reference in references)
        tags = {REFERENCES_SENT: names}
        log_in_batches(remote.client, parent, reference_metrics(self._study), {}, tags)
        remote.has_references = True

    def _send_figures(
        self, remote: RemoteState, parent: str, records: list[TrialRecord], repeats: Repeats
    ) -> None:
        # Loads the libraries that draw.
        from search.plots.figures import write_figures

        links, criteria = remote.links, self._study.search.criteria
        tests, members = self._study.tests(), frontier(records, criteria)
        rows = frontier_members(members, repeats, tests, criteria.metric)
        references = self._study.references()
        answer = compared_frontier(self._study.space, records, rows, references)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_figures(self._study, folder, links, server_url(self._where.tracking_uri))
            shown = answer.model_dump_json(indent=1)
            (folder / "frontier.json").write_text(shown, encoding="utf-8")
            remote.client.log_artifacts(parent, name, "frontier")
        description = search_description(self._study, records, links, repeats)
        remote.client.set_tag(parent, DESCRIPTION, description)
