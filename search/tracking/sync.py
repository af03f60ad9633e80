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
from search.storage.trials import BEGINNING, TrialRecord
from search.tracking.client import as_tags, log_in_batches
from search.tracking.descriptions import experiment_description, search_description
from search.tracking.remote_state import (
    PARENT,
    REFERENCES_SENT,
    DeletedInMlflow,
    RemoteState,
    RunState,
)
from search.tracking.run_sync import DESCRIPTION, FIGURE_SECONDS, RunSync, SoFar, log_search
from search.tracking.saved_views import saved_views
from search.tracking.search_run import (
    SearchMetrics,
    reference_metrics,
    search_dataset,
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

FIGURE_PAUSE = 20.0
"""Least pause between two drawings of the figures, as a multiple of the time that one takes."""


class MlflowSync(RunSync):
    """Sends the difference between a study and MLflow.

    Args:
        has_lost_lease: Whether another process has taken over; asked before anything is created.
    """

    def __init__(
        self, study: Study, where: Locations, has_lost_lease: Callable[[], bool] = lambda: False
    ) -> None:
        self._study = study
        self._scale = Scale.of(study.space)
        self._figures_due = 0.0
        super().__init__(study.search.name, study.study_id, where, has_lost_lease)

    def reset(self) -> None:
        """Read MLflow and the study again before the next sending, as after an error."""
        super().reset()
        self._mark = BEGINNING
        self._begin()

    def _begin(self) -> None:
        self._members: dict[int, TrialRecord] = {}
        self._metrics = SearchMetrics(self._study.criteria, self._scale)
        self._so_far = SoFar()

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
        parent = self._parent(remote)
        changes = self._study.changes(self._mark)
        self._mark = changes.mark
        if changes.is_whole:
            self._begin()
        finished = [record for record in changes.finished if record.repeats is None]
        running = sum(record.repeats is None for record in changes.running)
        self._so_far = self._so_far.then(finished, running)
        changed = {record.number: record for record in (*changes.finished, *changes.running)}
        changed |= self._merged_members(finished)
        ordered = sorted(changed.values(), key=lambda each: (each.repeats is not None, each.number))
        sent, rejection = self._send_trials(remote, ordered, self._members.keys())
        self._send_references(remote, parent)
        metrics = []
        for record in finished:
            self._metrics.add(record)
            if self._metrics.count > remote.steps_sent:
                metrics += self._metrics.after(record)
        self._send_steps(remote, metrics, self._metrics.count)
        if with_figures or (sent and time.monotonic() > self._figures_due):
            started = time.monotonic()
            self._send_figures(remote, parent)
            ended = time.monotonic()
            # Those of many trials take long to draw.
            self._figures_due = ended + max(FIGURE_SECONDS, FIGURE_PAUSE * (ended - started))
        self._send_status(remote, self._so_far, self._study.search.trials, is_running)
        if rejection is not None:
            raise rejection
        return sent

    def _merged_members(self, finished: list[TrialRecord]) -> dict[int, TrialRecord]:
        """Merge finished trials into the frontier; returns those that it gained or lost."""
        before = self._members
        members = frontier([*before.values(), *finished], self._study.criteria)
        self._members = {record.number: record for record in members}
        return {
            number: (before | self._members)[number]
            for number in before.keys() ^ self._members.keys()
        }

    def _parent(self, remote: RemoteState) -> str:
        """The run of the search, created and filled if MLflow has none."""
        search = self._study.search
        if PARENT in remote.deleted:
            raise DeletedInMlflow(f"the run of search {search.name!r} was deleted in MLflow")
        if PARENT in remote.run_states:
            return remote.runs[PARENT]
        starts = [record.started for record in self._study.records() if record.started]
        start_ms = milliseconds(min(starts, default=None))
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

    def _send_figures(self, remote: RemoteState, parent: str) -> None:
        # Loads the libraries that draw.
        from search.plots.figures import write_figures

        links, criteria = remote.links, self._study.search.criteria
        records, repeated = self._study.records_and_repeats()
        repeats = Repeats(repeated)
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
