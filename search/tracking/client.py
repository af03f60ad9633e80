"""MLflow's client as tlc uses it: it gives up soon, prints nothing, and sends much in a call."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

METRICS_PER_CALL = 900
"""MLflow takes 1,000 metrics, params and tags together in a call."""


def mlflow_client(tracking_uri: str) -> MlflowClient:
    """A client that gives up soon and prints nothing: being away is for the caller to tell."""
    # Its defaults, 120 s and 7 tries, would hold the thread for a quarter of an hour, and a create
    # that it repeats by itself after a lost reply is a second run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # With a server, it prints two lines for each run that ends, and a bar for each upload.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It would report its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    # Importing mlflow sets its level, so this comes after.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri)


def is_rejection(error: Exception) -> bool:
    """Whether MLflow is there and does not want this, as opposed to being away."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, PermissionError)


def error_summary(error: Exception) -> str:
    """What went wrong in a line, without the password that a tracking URI can hold."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    return re.sub(r"//[^/@\s]+@", "//", first)[:200]


def log_in_batches(
    client: MlflowClient,
    run: str,
    metrics: list[Metric],
    params: list[Param],
    tags: dict[str, str],
) -> None:
    """Log in as many calls as it needs, the params with the first, the tags with the last."""
    starts = range(0, max(len(metrics), 1), METRICS_PER_CALL)
    for start in starts:
        client.log_batch(
            run,
            metrics=metrics[start : start + METRICS_PER_CALL],
            params=params if start == 0 else (),
            tags=as_tags(tags) if start == starts[-1] else (),
        )


def as_params(values: dict[str, Any]) -> list[Param]:
    """Params of plain values."""
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in values.items()]


def as_tags(values: dict[str, str]) -> list[RunTag]:
    """Tags of plain values."""
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
