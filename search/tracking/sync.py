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

from search.formatting import frontier_rows
from search.mlflow_links import Links, server_of
from search.pareto import Scale, frontier
from search.plots.figures import write_figures
from search.storage.study import Study
from search.storage.trials import TrialRecord, is_noisy
from search.tracking.client import as_params, as_tags, is_refusal, log_many, quiet_client
from search.tracking.descriptions import experiment_note, search_note
from search.tracking.remote_state import (
    KEY,
    PARENT,
    PARENT_TAG,
    STEPS_SENT,
    Deleted,
    Seen,
    Shown,
    look,
)
from search.tracking.run_data import (
    dataset,
    dimensions,
    ended,
    identity,
    milliseconds,
    plan,
    progress,
    started,
    trial_metrics,
    trial_name,
)
from search.tracking.saved_views import saved_views
from spaces.file.storage import Locations

NOTE = "mlflow.note.content"
FIGURE_SECONDS = 15.0
HIDDEN = ("storage", "address")
"""Fields of the search file that say where and not what; their URLs can hold passwords."""


class Displaced(Exception):
    """Another process drives the search now, and sends what there is to send."""


class Mirror:
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
        self.forget()

    def forget(self) -> None:
        """Look again at what MLflow has before the next sending, as after a failure."""
        self._known: Seen | None = None

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow does not have.

        Args:
            with_figures: Draw the frontier whatever its age; else every ``FIGURE_SECONDS``.
            is_running: Whether the search is running, where the caller knows: it decides the
                status of the parent run.

        Returns:
            Trials that were sent.

        Raises:
            Displaced: The sending is another's now.
            Exception: Whatever MLflow raises when it is away or refuses something; what it refuses
                of one trial does not keep the others out. Call ``forget`` before trying again.
        """
        self._keep_out()
        seen = self._seen()
        records = self._study.records()
        parent = self._parent(seen, records)
        members = {record.number for record in frontier(records, self._study.search.criteria)}
        sent, refusal = 0, None
        for record in records:
            shown = Shown(record.state, record.number in members, parent)
            key = str(record.number)
            if seen.shown.get(key) == shown or key in seen.deleted:
                continue
            try:
                self._send_trial(seen, record, shown)
            except Exception as error:
                if not is_refusal(error):
                    raise
                refusal = error
                continue
            seen.shown[key] = shown
            sent += 1
        self._send_progress(seen, parent, records)
        if with_figures or (sent and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(seen, parent, records)
            self._figures_sent = time.monotonic()
        self._send_status(seen, parent, records, is_running)
        if refusal is not None:
            raise refusal
        return sent

    def _keep_out(self) -> None:
        """Stop where another sends: a driver that was frozen wakes up in the middle of anything."""
        if self._has_lost_lease():
            raise Displaced

    def _seen(self) -> Seen:
        if self._known is None:
            client = quiet_client(self._where.tracking_uri)
            self._known = look(client, self._study.search.name, self._study_id, self._where)
        return self._known

    def _run(self, seen: Seen, key: str, name: str, start_ms: int | None, parent: str = "") -> str:
        """The run of a key, made if MLflow has none."""
        if key not in seen.runs:
            self._keep_out()
            tags = {KEY: f"{self._study_id}/{key}", "mlflow.source.name": "tlc"}
            if parent:
                tags[PARENT_TAG] = parent
            run = seen.client.create_run(
                seen.experiment, start_time=start_ms, run_name=name, tags=tags
            )
            seen.runs[key] = run.info.run_id
        return seen.runs[key]

    def _parent(self, seen: Seen, records: list[TrialRecord]) -> str:
        if PARENT in seen.deleted:
            raise Deleted(f"the run of search {self._study.search.name!r} was deleted in MLflow")
        if PARENT in seen.shown:
            return seen.runs[PARENT]
        search = self._study.search
        name = f"search {search.name}: frontier and figures"
        run = self._run(seen, PARENT, name, started(records))
        seen.client.log_batch(
            run, params=as_params(identity(self._study)), tags=as_tags(plan(search))
        )
        shown = {key: value for key, value in search.to_dict().items() if key not in HIDDEN}
        text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
        seen.client.log_text(run, text, "search.yaml")
        data = dataset(self._study)
        if data is not None:
            seen.client.log_inputs(run, [data])
        self._describe_experiment(seen, started(records) or 0)
        seen.shown[PARENT] = Shown("described", on_frontier=False, parent="")
        return run

    def _describe_experiment(self, seen: Seen, started_ms: int) -> None:
        """Give the experiment its description and views; what a person wrote or saved stays."""
        note = experiment_note(self._study.search, self._links(seen))
        tags = {NOTE: note, **saved_views(self._study.space, started_ms)}
        for key, value in tags.items():
            if key not in seen.tags:
                seen.client.set_experiment_tag(seen.experiment, key, value)
                seen.tags.add(key)

    def _links(self, seen: Seen) -> Links:
        return Links(seen.experiment, seen.runs[PARENT], seen.trials)

    def _send_trial(self, seen: Seen, record: TrialRecord, shown: Shown) -> None:
        key = str(record.number)
        name = trial_name(record, self._study.search)
        run = self._run(seen, key, name, milliseconds(record.started), shown.parent)
        tags = {
            "tlc.state": record.state,
            "on_frontier": str(shown.on_frontier).lower(),
            PARENT_TAG: shown.parent,
        }
        before = seen.shown.get(key)
        if before is not None and before.state == record.state:
            seen.client.log_batch(run, tags=as_tags(tags))
            return
        params = as_params(dimensions(record, self._study.search))
        if not record.is_complete:
            if record.is_finished:
                tags["tlc.message"] = record.message[:500]
            seen.client.log_batch(run, params=params, tags=as_tags(tags))
        else:
            steps = record.result["steps"]
            tags["tlc.steps_reused"] = f"{steps['reused']} of {steps['total']}"
            tags["tlc.model"] = record.result["model"]
            tags["tlc.latency"] = "noisy" if is_noisy(record.result) else "quiet"
            log_many(
                seen.client,
                run,
                trial_metrics(record, self._study.curve(record.number)),
                params,
                tags,
            )
            seen.client.log_dict(run, record.result, "evaluation.json")
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            seen.client.set_terminated(run, status, milliseconds(record.finished))

    def _send_progress(self, seen: Seen, parent: str, records: list[TrialRecord]) -> None:
        """Hypervolume and best score at each cost level, after each finished trial."""
        self._keep_out()
        points = progress(records, self._study.search, self._scale)
        metrics = [metric for point in points[seen.steps_sent :] for metric in point]
        if not metrics:
            return
        # Tags are written after the metrics of their call: the count never runs ahead of them.
        log_many(seen.client, parent, metrics, [], {STEPS_SENT: str(len(points))})
        seen.steps_sent = len(points)

    def _send_figures(self, seen: Seen, parent: str, records: list[TrialRecord]) -> None:
        links = self._links(seen)
        rows = frontier_rows(frontier(records, self._study.search.criteria), self._study.tests())
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_figures(self._study, folder, links, server_of(self._where.tracking_uri))
            (folder / "frontier.json").write_text(json.dumps(rows, indent=1))
            seen.client.log_artifacts(parent, name, "frontier")
        seen.client.set_tag(parent, NOTE, search_note(self._study, records, links))

    def _send_status(
        self, seen: Seen, parent: str, records: list[TrialRecord], is_running: bool | None
    ) -> None:
        self._keep_out()
        is_done = sum(record.is_finished for record in records) >= self._study.search.trials
        if is_running:
            status = "RUNNING"
        elif is_done or (is_running is False and all(r.is_finished for r in records)):
            status = "FINISHED"
        elif is_running is False:
            status = "KILLED"
        else:
            return
        if status == seen.status:
            return
        if status == "RUNNING":
            seen.client.update_run(parent, status=status)
        else:
            # At its last trial's end, also when this is sent an hour later.
            seen.client.set_terminated(parent, status, ended(records))
        seen.status = status
