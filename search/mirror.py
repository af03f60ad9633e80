"""What MLflow shows of a study: the difference between the two, computed and sent."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from search.figures import write_figures
from search.frontier import Scale, best, frontier, hypervolume_history
from search.records import Record
from search.study import Study
from search.tables import frontier_rows
from spaces.places import Places

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "parent"
KEY = "tlc.key"
"""Tag that names a run's trial: looked up before a run is created, since a reply can be lost."""

DESCRIBED = "tlc.described"
"""Tag of a parent run that has its params and its search file."""

PAGE = 1000
FIGURE_SECONDS = 15.0
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100

UNITS = {"size_mb": "mb", "latency_ms": "ms", "flops": "flops"}

TRIAL_METRICS = (
    "accuracy", "accuracy_low", "accuracy_high", "loss", "dense_accuracy", "size_mb",
    "compression_ratio", "latency_ms", "flops", "parameters", "training_flops",
)  # fmt: skip


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
        self._runs: dict[str, str] = {}
        self._is_described = False
        self._sent: dict[int, tuple[str, bool]] = {}
        self._steps_sent = 0
        self._figures_sent = 0.0
        self._client: MlflowClient | None = None
        self._experiment = ""

    def send(self, *, with_figures: bool) -> int:
        """Send everything that MLflow does not have.

        Args:
            with_figures: Draw the frontier whatever its age; else every ``FIGURE_SECONDS``.

        Returns:
            Trials that were sent.

        Raises:
            Exception: Whatever MLflow raises when it is away.
        """
        try:
            return self._send(self._connect(), with_figures=with_figures)
        except Exception:
            # A request may have been carried out although its reply was lost: look again.
            self._client = None
            raise

    def _send(self, client: MlflowClient, *, with_figures: bool) -> int:
        records = self._study.records()
        members = {record.number for record in frontier(records, self._study.search)}
        parent = self._parent(client, records)
        changed = [r for r in records if self._sent.get(r.number) != (r.state, r.number in members)]
        for record in changed:
            self._send_trial(client, record, parent, on_frontier=record.number in members)
            self._sent[record.number] = (record.state, record.number in members)
        self._send_progress(client, parent, records)
        if with_figures or (changed and time.monotonic() - self._figures_sent > FIGURE_SECONDS):
            self._send_figures(client, parent, records)
            self._figures_sent = time.monotonic()
        finished = sum(record.is_finished for record in records)
        if finished >= self._study.search.trials:
            # At its last trial's end, also when this is sent an hour later.
            ends = [_milliseconds(r.finished) or 0 for r in records if r.finished]
            client.set_terminated(parent, "FINISHED", max(ends))
        return len(changed)

    def _connect(self) -> MlflowClient:
        if self._client is not None:
            return self._client
        # MLflow's defaults, 120 s and 7 tries, would hold the thread for a quarter of an hour.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        from mlflow import MlflowClient

        # Importing mlflow sets its level, so this comes after.
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)

        client = MlflowClient(self._where.tracking_uri)
        name = self._study.search.name
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            self._experiment = experiment.experiment_id
        else:
            folder = self._where.artifacts
            location = None if folder is None else (folder / name).as_uri()
            self._experiment = client.create_experiment(name, artifact_location=location)
        self._read_back(client)
        self._client = client
        return client

    def _read_back(self, client: MlflowClient) -> None:
        """Learn what MLflow has: the runs by their key, and which of them are complete."""
        known = self._study.runs()
        self._runs, self._sent, self._is_described, self._steps_sent = {}, {}, False, 0
        token: str | None = None
        while True:
            page = client.search_runs([self._experiment], max_results=PAGE, page_token=token)
            for run in page:
                key = run.data.tags.get(KEY, "").rpartition("/")[2]
                if key and known.get(key, run.info.run_id) == run.info.run_id:
                    self._take_note(key, run)
            token = page.token
            if not token:
                break
        if PARENT in self._runs:
            history = client.get_metric_history(self._runs[PARENT], "hypervolume")
            # The last step may lack some of its metrics; sent again they are the same rows.
            self._steps_sent = max((metric.step for metric in history), default=1) - 1

    def _take_note(self, key: str, run: Any) -> None:
        self._runs[key] = run.info.run_id
        tags = run.data.tags
        if key == PARENT:
            self._is_described = DESCRIBED in tags
        elif run.info.status in ("FINISHED", "FAILED"):
            # Ending a run is the last that is sent of a trial.
            self._sent[int(key)] = (tags["tlc.state"], tags["on_frontier"] == "true")

    def _parent(self, client: MlflowClient, records: list[Record]) -> str:
        run = self._run(client, PARENT, self._study.search.name, {}, _first_start(records))
        if not self._is_described:
            self._describe_parent(client, run)
            client.set_tag(run, DESCRIBED, "true")
            self._is_described = True
        return run

    def _run(
        self,
        client: MlflowClient,
        key: str,
        name: str,
        tags: dict[str, str],
        start_ms: int | None,
    ) -> str:
        """The run of a key: the one that MLflow has, or a new one."""
        if key not in self._runs:
            run = client.create_run(
                self._experiment,
                start_time=start_ms,
                run_name=name,
                tags={KEY: f"{self._study.search.name}/{key}", **tags},
            )
            self._runs[key] = run.info.run_id
            self._study.set_run(key, run.info.run_id)
        return self._runs[key]

    def _describe_parent(self, client: MlflowClient, run: str) -> None:
        search = self._study.search
        text = yaml.safe_dump(search.to_dict(), sort_keys=False, allow_unicode=True)
        client.log_text(run, text, "search.yaml")
        facts = {
            "task": search.task.name,
            "objectives": " ".join(search.objectives),
            "seed": search.seed,
            "configurations": self._study.space.size,
            "budget_unit": search.space.budget.unit.value,
            "data_fingerprint": self._study.data.get("fingerprint", "")[:16],
        }
        client.log_batch(run, params=_params(facts))

    def _send_trial(
        self, client: MlflowClient, record: Record, parent: str, *, on_frontier: bool
    ) -> None:
        key = str(record.number)
        start_ms = _milliseconds(record.started)
        name = f"#{record.number} {record.configuration}"
        run = self._run(client, key, name, {"mlflow.parentRunId": parent}, start_ms)
        tags = {"tlc.state": record.state, "on_frontier": str(on_frontier).lower()}
        last_state = self._sent.get(record.number, ("", False))[0]
        if last_state == record.state:
            client.log_batch(run, tags=_tags(tags))
            return
        params = [] if last_state else _params(self._dimensions(record))
        if not record.is_complete:
            if record.is_finished:
                tags["tlc.message"] = record.message[:500]
            client.log_batch(run, params=params, tags=_tags(tags))
        else:
            steps = record.result["steps"]
            tags["tlc.steps_reused"] = f"{steps['reused']} of {steps['total']}"
            tags["tlc.model"] = record.result["model"]
            self._log_metrics(client, run, record, params, tags)
            client.log_dict(run, record.result, "evaluation.json")
        if record.is_finished:
            status = "FINISHED" if record.is_complete else "FAILED"
            client.set_terminated(run, status, _milliseconds(record.finished))

    def _log_metrics(
        self,
        client: MlflowClient,
        run: str,
        record: Record,
        params: list[Any],
        tags: dict[str, str],
    ) -> None:
        from mlflow.entities import Metric

        # The time of the record, and not of sending: a second sending then gives the same rows.
        stamp = _milliseconds(record.finished) or 0
        result = record.result
        values = {name: float(result[name]) for name in TRIAL_METRICS}
        values["train_seconds"] = result["seconds"]["train"]
        values["saved_seconds"] = result["seconds"]["saved"]
        values["steps_trained"] = float(result["steps"]["trained"])
        metrics = [Metric(name, value, stamp, 0) for name, value in values.items()]
        metrics += [
            Metric("train_loss", loss, stamp, int(step))
            for step, loss in self._study.curve(record.number)
        ]
        client.log_batch(
            run, metrics=metrics[:METRICS_A_CALL], params=params[:PARAMS_A_CALL], tags=_tags(tags)
        )

    def _dimensions(self, record: Record) -> dict[str, Any]:
        architecture = record.configuration.architecture
        compression = record.configuration.compression
        return {
            "depth": architecture.depth,
            "width": architecture.width,
            "heads": architecture.heads,
            "feed_forward": architecture.feed_forward,
            "budget": f"{record.configuration.budget:g}",
            "budget_unit": self._study.search.space.budget.unit.value,
            "quantisation": compression.quantisation.value,
            "bits": compression.quantisation.bits,
            "group_size": compression.group_size,
            "pruning": compression.pruning.value,
            "sparsity": compression.sparsity,
            "seed": record.configuration.seed,
            "configuration_hash": record.configuration.hash[:16],
        }

    def _send_progress(self, client: MlflowClient, parent: str, records: list[Record]) -> None:
        """Hypervolume and accuracy at each cost level, against the number of finished trials."""
        from mlflow.entities import Metric

        search = self._study.search
        finished = sorted(
            (r for r in records if r.is_finished), key=lambda r: (r.finished or r.started, r.number)
        )
        history = hypervolume_history(finished, search, self._scale)
        metrics = []
        for step in range(self._steps_sent, len(finished)):
            stamp = _milliseconds(finished[step].finished) or 0
            metrics.append(Metric("hypervolume", history[step], stamp, step + 1))
            for level in self._scale.levels():
                leader = best(finished[: step + 1], search, {search.cost: level})
                if leader is not None:
                    name = f"accuracy_at_{level:g}_{UNITS[search.cost]}"
                    metrics.append(Metric(name, leader.result["accuracy"], stamp, step + 1))
        for start in range(0, len(metrics), METRICS_A_CALL):
            client.log_batch(parent, metrics=metrics[start : start + METRICS_A_CALL])
        self._steps_sent = len(finished)

    def _send_figures(self, client: MlflowClient, parent: str, records: list[Record]) -> None:
        search = self._study.search
        rows = frontier_rows(frontier(records, search), self._study.tests())
        client.log_text(parent, json.dumps(rows, indent=1), "frontier/frontier.json")
        with tempfile.TemporaryDirectory() as folder:
            write_figures(self._study, Path(folder))
            client.log_artifacts(parent, folder, "frontier")
        client.set_tag(parent, "mlflow.note.content", _note(search.name, rows))


def _note(name: str, rows: list[dict[str, Any]]) -> str:
    """The parent run's description: the frontier as a Markdown table."""
    columns = (
        "trial",
        "depth",
        "width",
        "budget",
        "compression",
        "accuracy",
        "size_mb",
        "latency_ms",
    )
    lines = [f"Frontier of **{name}**, the cheapest first:", "", "| " + " | ".join(columns) + " |"]
    lines.append("|" + " --- |" * len(columns))
    for row in rows:
        values = (
            f"{row[column]:.4g}" if isinstance(row[column], float) else str(row[column])
            for column in columns
        )
        lines.append("| " + " | ".join(values) + " |")
    lines += ["", "Figure: `frontier/frontier.html` under *Artifacts*.",
              f"The best under a limit: `tlc best {name} --max-size-mb 1`."]  # fmt: skip
    return "\n".join(lines)


def _params(values: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in values.items()]


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _first_start(records: list[Record]) -> int | None:
    starts = [record.started for record in records if record.started is not None]
    return _milliseconds(min(starts, default=None))
