"""What MLflow shows of a study: the difference between the two, computed and sent.

What MLflow has is read from MLflow, never remembered from what was sent: a reply can be lost, the
server can be another one than last time, and its database can be gone.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from search.formatting import has_noisy_latency
from search.mlflow_links import MlflowLinks, server_url
from search.pareto import Scale, frontier
from search.plots.figures import write_figures
from search.results.schemas import FrontierMember
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.client import as_params, as_tags, is_rejection, log_in_batches, mlflow_client
from search.tracking.descriptions import experiment_description, search_description
from search.tracking.remote_state import (
    KEY,
    PARENT,
    PARENT_TAG,
    STEPS_SENT,
    DeletedInMlflow,
    RemoteState,
    RunState,
    read_remote_state,
)
from search.tracking.saved_views import saved_views
from search.tracking.search_run import (
    first_start_ms,
    last_end_ms,
    search_dataset,
    search_metrics,
    search_params,
    search_tags,
)
from search.tracking.trial_run import milliseconds, trial_metrics, trial_name, trial_params
from spaces.file.storage import Locations

NOTE = "mlflow.note.content"
FIGURE_SECONDS = 15.0
HIDDEN = ("storage", "address")
"""Fields of the search file that say where and not what; their URLs can hold passwords."""


class LeaseLost(Exception):
    """Another process drives the search now, and sends what there is to send."""


class MlflowSync:
    """Sends the difference between a study and MLflow.

    Two that send at once would make runs twice: MLflow has no unique keys.

    Args:
        study: The record.
        where: The tracking URI and the artefacts' folder.
        has_lost_lease: Whether the sending is another's now, asked before each thing that is made.
    """

    def __init__(
        self, study: Study, where: Locations, has_lost_lease: Callable[[], bool] = lambda: False
    ) -> None:
        self._has_lost_lease = has_lost_lease
        self._study = study
        self._where = where
        self._scale = Scale.of(study.space)
        self._study_id = study.study_id
        self._figures_sent = 0.0
        self.reset()

    def reset(self) -> None:
        """Look again at what MLflow has before the next sending, as after a failure."""
        self._known: RemoteState | None = None

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow does not have.

        Args:
            with_figures: Draw the frontier whatever its age; else every ``FIGURE_SECONDS``.
            is_running: Whether the search is running, where the caller knows: it decides the
                status of the parent run.

        Returns:
            Trials that were sent.

        Raises:
            LeaseLost: The sending is another's now.
            Exception: Whatever MLflow raises when it is away or refuses something; what it refuses
                of one trial does not keep the others out. Call ``reset`` before trying again.
        """
        self._check_lease()
        remote = self._remote_state()
        records = self._study.records()
        parent = self._parent(remote, records)
        members = {record.number for record in frontier(records, self._study.search.criteria)}
        sent, refusal = 0, None
        for record in records:
            shown = RunState(record.state, record.number in members, parent)
            key = str(record.number)
            if remote.shown.get(key) == shown or key in remote.deleted:
                continue
            try:
                self._send_trial(remote, record, shown)
            except Exception as error:
                if not is_rejection(error):
                    raise
                refusal = error
                continue
            remote.shown[key] = shown
            sent += 1
        self._send_progress(remote, parent, records)
        if with_figures or (sent and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(remote, parent, records)
            self._figures_sent = time.monotonic()
        self._send_status(remote, parent, records, is_running)
        if refusal is not None:
            raise refusal
        return sent

    def _check_lease(self) -> None:
        """Stop where another sends: a driver that was frozen wakes up in the middle of anything."""
        if self._has_lost_lease():
            raise LeaseLost

    def _remote_state(self) -> RemoteState:
        if self._known is None:
            client = mlflow_client(self._where.tracking_uri)
            self._known = read_remote_state(
                client, self._study.search.name, self._study_id, self._where
            )
        return self._known

    def _run(
        self, remote: RemoteState, key: str, name: str, start_ms: int | None, parent: str = ""
    ) -> str:
        """The run of a key, made if MLflow has none."""
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

    def _parent(self, remote: RemoteState, records: list[TrialRecord]) -> str:
        if PARENT in remote.deleted:
            raise DeletedInMlflow(
                f"the run of search {self._study.search.name!r} was deleted in MLflow"
            )
        if PARENT in remote.shown:
            return remote.runs[PARENT]
        search = self._study.search
        name = f"search {search.name}: frontier and figures"
        run = self._run(remote, PARENT, name, first_start_ms(records))
        remote.client.log_batch(
            run, params=as_params(search_params(self._study)), tags=as_tags(search_tags(search))
        )
        shown = {key: value for key, value in search.to_dict().items() if key not in HIDDEN}
        text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
        remote.client.log_text(run, text, "search.yaml")
        data = search_dataset(self._study)
        if data is not None:
            remote.client.log_inputs(run, [data])
        self._describe_experiment(remote, first_start_ms(records) or 0)
        remote.shown[PARENT] = RunState("described", on_frontier=False, parent="")
        return run

    def _describe_experiment(self, remote: RemoteState, started_ms: int) -> None:
        """Give the experiment its description and views; what a person wrote or saved stays."""
        note = experiment_description(self._study.search, self._links(remote))
        tags = {NOTE: note, **saved_views(self._study.space, started_ms)}
        for key, value in tags.items():
            if key not in remote.tags:
                remote.client.set_experiment_tag(remote.experiment, key, value)
                remote.tags.add(key)

    def _links(self, remote: RemoteState) -> MlflowLinks:
        return MlflowLinks(remote.experiment, remote.runs[PARENT], remote.trials)

    def _send_trial(self, remote: RemoteState, record: TrialRecord, shown: RunState) -> None:
        key = str(record.number)
        name = trial_name(record, self._study.search.space.budget.unit)
        run = self._run(remote, key, name, milliseconds(record.started), shown.parent)
        tags = {
            "tlc.state": record.state,
            "on_frontier": str(shown.on_frontier).lower(),
            PARENT_TAG: shown.parent,
        }
        before = remote.shown.get(key)
        if before is not None and before.state == record.state:
            remote.client.log_batch(run, tags=as_tags(tags))
            return
        params = as_params(trial_params(record, self._study.search.space.budget.unit))
        if not record.is_complete:
            if record.is_finished:
                tags["tlc.message"] = record.message[:500]
            remote.client.log_batch(run, params=params, tags=as_tags(tags))
        else:
            steps = record.result["steps"]
            tags["tlc.steps_reused"] = f"{steps['reused']} of {steps['total']}"
            tags["tlc.model"] = record.result["model"]
            tags["tlc.latency"] = "noisy" if has_noisy_latency(record.result) else "quiet"
            log_in_batches(
                remote.client,
                run,
                trial_metrics(record, self._study.curve(record.number)),
                params,
                tags,
            )
            remote.client.log_dict(run, record.result, "evaluation.json")
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            remote.client.set_terminated(run, status, milliseconds(record.finished))

    def _send_progress(self, remote: RemoteState, parent: str, records: list[TrialRecord]) -> None:
        """Hypervolume and best score at each cost level, after each finished trial."""
        self._check_lease()
        points = search_metrics(records, self._study.search, self._scale)
        metrics = [metric for point in points[remote.steps_sent :] for metric in point]
        if not metrics:
            return
        # Tags are written after the metrics of their call: the count never runs ahead of them.
        log_in_batches(remote.client, parent, metrics, [], {STEPS_SENT: str(len(points))})
        remote.steps_sent = len(points)

    def _send_figures(self, remote: RemoteState, parent: str, records: list[TrialRecord]) -> None:
        links = self._links(remote)
        tests = self._study.tests()
        members = [
            FrontierMember.of(record, tests.get(record.number, {}))
            for record in frontier(records, self._study.search.criteria)
        ]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_figures(self._study, folder, links, server_url(self._where.tracking_uri))
            rows = [member.model_dump() for member in members]
            (folder / "frontier.json").write_text(json.dumps(rows, indent=1))
            remote.client.log_artifacts(parent, name, "frontier")
        remote.client.set_tag(parent, NOTE, search_description(self._study, records, links))

    def _send_status(
        self, remote: RemoteState, parent: str, records: list[TrialRecord], is_running: bool | None
    ) -> None:
        self._check_lease()
        is_done = sum(record.is_finished for record in records) >= self._study.search.trials
        if is_running:
            status = "RUNNING"
        elif is_done or (is_running is False and all(r.is_finished for r in records)):
            status = "FINISHED"
        elif is_running is False:
            status = "KILLED"
        else:
            return
        if status == remote.status:
            return
        if status == "RUNNING":
            remote.client.update_run(parent, status=status)
        else:
            # At its last trial's end, also when this is sent an hour later.
            remote.client.set_terminated(parent, status, last_end_ms(records))
        remote.status = status
