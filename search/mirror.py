"""What MLflow shows of a study: the difference between the two, computed and sent.

What MLflow has is read from MLflow, never remembered from what was sent: a reply can be lost, the
server can be another one than last time, and its database can be gone.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from search.figures import write_figures
from search.frontier import Scale, frontier
from search.records import Record
from search.run_content import (
    description,
    dimensions,
    ended,
    identity,
    milliseconds,
    plan,
    progress,
    started,
    trial_metrics,
)
from search.study import Study
from search.tables import frontier_rows
from spaces.errors import UserError
from spaces.places import Places

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

PARENT = "parent"
KEY = "tlc.key"
"""Tag that tells which trial a run is: ``<mark of the study>/<number>``, or ``.../parent``."""
STEPS_SENT = "tlc.steps_sent"
PARENT_TAG = "mlflow.parentRunId"

FIGURE_SECONDS = 15.0
METRICS_A_CALL = 900
"""MLflow takes 1,000 metrics, params and tags together in a call."""
RUNS_A_CALL = 1000


class Deleted(UserError):
    """What was deleted in MLflow by hand is not made again."""


@dataclass(frozen=True)
class _Shown:
    """What a run of MLflow shows of a trial; equal when nothing has to be sent."""

    state: str
    on_frontier: bool
    parent: str


class Mirror:
    """Sends the difference between a study and MLflow.

    Args:
        study: The record.
        where: The tracking URI and the artefacts' folder.
    """

    def __init__(self, study: Study, where: Places) -> None:
        self._study = study
        self._where = where
        self._scale = Scale.of(study.space)
        self._mark = study.mark
        self._figures_sent = 0.0
        self.forget()

    def forget(self) -> None:
        """Look again at what MLflow has before the next sending, as after a failure."""
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._runs: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._duplicates: list[str] = []
        self._shown: dict[str, _Shown] = {}
        self._steps_sent = 0
        self._status = ""

    def send(self, *, with_figures: bool, is_running: bool | None = None) -> int:
        """Send everything that MLflow does not have.

        Args:
            with_figures: Draw the frontier whatever its age; else every ``FIGURE_SECONDS``.
            is_running: Whether the search is running, where the caller knows: it decides the
                status of the parent run.

        Returns:
            Trials that were sent.

        Raises:
            Exception: Whatever MLflow raises when it is away or refuses something; what it refuses
                of one trial does not keep the others out. Call ``forget`` before trying again.
        """
        client = self._client or self._connect()
        records = self._study.records()
        parent = self._parent(client, records)
        members = {record.number for record in frontier(records, self._study.search)}
        sent, refusal = 0, None
        for record in records:
            shown = _Shown(record.state, record.number in members, parent)
            key = str(record.number)
            if self._shown.get(key) == shown or key in self._deleted:
                continue
            try:
                self._send_trial(client, record, shown)
            except Exception as error:
                if not _is_refusal(error):
                    raise
                refusal = error
                continue
            self._shown[key] = shown
            sent += 1
        self._send_progress(client, parent, records)
        if with_figures or (sent and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(client, parent, records)
            self._figures_sent = time.monotonic()
        self._send_status(client, parent, records, is_running)
        if refusal is not None:
            raise refusal
        return sent

    def _connect(self) -> MlflowClient:
        client = quiet_client(self._where.tracking_uri)
        name = self._study.search.name
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            folder = self._where.artifacts
            location = None if folder is None else (folder / name).as_uri()
            self._experiment = client.create_experiment(name, artifact_location=location)
        elif experiment.lifecycle_stage == "deleted":
            raise Deleted(
                f"experiment {name!r} was deleted in MLflow; "
                f"mlflow experiments restore -x {experiment.experiment_id} brings it back"
            )
        else:
            self._experiment = experiment.experiment_id
            self._look(client)
        self._client = client
        return client

    def _look(self, client: MlflowClient) -> None:
        """Read which runs MLflow has, and what they show."""
        from mlflow.entities import ViewType

        token = None
        while True:
            page = client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{KEY}` LIKE '{self._mark}/%'",
                run_view_type=ViewType.ALL,
                max_results=RUNS_A_CALL,
                page_token=token,
            )
            for run in page:
                self._take_note(run)
            token = page.token
            if not token:
                break
        for run_id in self._duplicates:
            client.delete_run(run_id)
        self._deleted -= self._runs.keys()

    def _take_note(self, run: Any) -> None:
        tags = run.data.tags
        key = tags[KEY].rpartition("/")[2]
        if run.info.lifecycle_stage == "deleted":
            self._deleted.add(key)
            return
        if key in self._runs:
            # A create that timed out here and went through there, after it was looked for.
            self._duplicates.append(run.info.run_id)
            return
        self._runs[key] = run.info.run_id
        if key == PARENT:
            self._steps_sent = int(tags.get(STEPS_SENT, 0))
            self._status = run.info.status
        # The status is written last: a run that still says RUNNING may lack something.
        elif run.info.status != "RUNNING":
            self._shown[key] = _Shown(
                state=tags.get("tlc.state", ""),
                on_frontier=tags.get("on_frontier") == "true",
                parent=tags.get(PARENT_TAG, ""),
            )

    def _run(
        self, client: MlflowClient, key: str, name: str, start_ms: int | None, parent: str = ""
    ) -> str:
        """The run of a key, made if MLflow has none."""
        if key not in self._runs:
            tags = {KEY: f"{self._mark}/{key}", "mlflow.source.name": "tlc"}
            if parent:
                tags[PARENT_TAG] = parent
            run = client.create_run(self._experiment, start_time=start_ms, run_name=name, tags=tags)
            self._runs[key] = run.info.run_id
        return self._runs[key]

    def _parent(self, client: MlflowClient, records: list[Record]) -> str:
        if PARENT in self._deleted:
            raise Deleted(f"the run of search {self._study.search.name!r} was deleted in MLflow")
        if PARENT in self._shown:
            return self._runs[PARENT]
        search = self._study.search
        run = self._run(client, PARENT, search.name, started(records))
        client.log_batch(run, params=_params(identity(self._study)), tags=_tags(plan(search)))
        text = yaml.safe_dump(search.to_dict(), sort_keys=False, allow_unicode=True)
        client.log_text(run, text, "search.yaml")
        self._shown[PARENT] = _Shown("described", on_frontier=False, parent="")
        return run

    def _send_trial(self, client: MlflowClient, record: Record, shown: _Shown) -> None:
        key = str(record.number)
        name = f"#{record.number} {record.configuration}"
        run = self._run(client, key, name, milliseconds(record.started), shown.parent)
        tags = {
            "tlc.state": record.state,
            "on_frontier": str(shown.on_frontier).lower(),
            PARENT_TAG: shown.parent,
        }
        before = self._shown.get(key)
        if before is not None and before.state == record.state:
            client.log_batch(run, tags=_tags(tags))
            return
        params = _params(dimensions(record, self._study.search))
        if not record.is_complete:
            if record.is_finished:
                tags["tlc.message"] = record.message[:500]
            client.log_batch(run, params=params, tags=_tags(tags))
        else:
            steps = record.result["steps"]
            tags["tlc.steps_reused"] = f"{steps['reused']} of {steps['total']}"
            tags["tlc.model"] = record.result["model"]
            _log(client, run, trial_metrics(record, self._study.curve(record.number)), params, tags)
            client.log_dict(run, record.result, "evaluation.json")
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            client.set_terminated(run, status, milliseconds(record.finished))

    def _send_progress(self, client: MlflowClient, parent: str, records: list[Record]) -> None:
        """Hypervolume and best score at each cost level, against the number of finished trials."""
        points = progress(records, self._study.search, self._scale)
        new = [metric for metric in points if metric.step > self._steps_sent]
        if not new:
            return
        # Tags are written after the metrics of their call: the count never runs ahead of them.
        _log(client, parent, new, [], {STEPS_SENT: str(new[-1].step)})
        self._steps_sent = new[-1].step

    def _send_figures(self, client: MlflowClient, parent: str, records: list[Record]) -> None:
        search = self._study.search
        rows = frontier_rows(frontier(records, search), self._study.tests())
        with tempfile.TemporaryDirectory() as folder:
            write_figures(self._study, Path(folder))
            (Path(folder) / "frontier.json").write_text(json.dumps(rows, indent=1))
            client.log_artifacts(parent, folder, "frontier")
        client.set_tag(parent, "mlflow.note.content", description(search, rows))

    def _send_status(
        self, client: MlflowClient, parent: str, records: list[Record], is_running: bool | None
    ) -> None:
        is_done = sum(record.is_finished for record in records) >= self._study.search.trials
        if is_running:
            status = "RUNNING"
        elif is_done or (is_running is False and all(r.is_finished for r in records)):
            status = "FINISHED"
        elif is_running is False:
            status = "KILLED"
        else:
            return
        if status == self._status:
            return
        if status == "RUNNING":
            client.update_run(parent, status=status)
        else:
            # At its last trial's end, also when this is sent an hour later.
            client.set_terminated(parent, status, ended(records))
        self._status = status


def quiet_client(tracking_uri: str) -> MlflowClient:
    """A client that gives up soon and prints nothing: being away is for the caller to tell."""
    # Its defaults, 120 s and 7 tries, would hold the thread for a quarter of an hour, and a create
    # that it repeats by itself after a lost reply is a second run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # With a server, it prints two lines for each run that ends, and a bar for each upload.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    # Importing mlflow sets its level, so this comes after.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri)


def _is_refusal(error: Exception) -> bool:
    """Whether MLflow is there and does not want this, as opposed to being away."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, PermissionError)


def _log(
    client: MlflowClient,
    run: str,
    metrics: list[Metric],
    params: list[Param],
    tags: dict[str, str],
) -> None:
    """Log in as many calls as it needs, the tags with the last."""
    starts = range(0, max(len(metrics), 1), METRICS_A_CALL)
    for start in starts:
        client.log_batch(
            run,
            metrics=metrics[start : start + METRICS_A_CALL],
            params=params if start == 0 else (),
            tags=_tags(tags) if start == starts[-1] else (),
        )


def _params(values: dict[str, Any]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in values.items()]


def _tags(values: dict[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
