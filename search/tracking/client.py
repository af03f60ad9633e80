"""MLflow's client as tlc uses it: short timeouts, no console output, batched calls."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.process_state import reach_loopback_directly, set_level, set_variables
from search.tracking.relocation import MLFLOW_VERSION, follow_home
from spaces.errors import require_version
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

METRICS_PER_CALL = 900
"""MLflow accepts 1,000 metrics, params and tags together in a call."""

_QUIET = {
    # The defaults, 120 s and 7 retries, would block the thread for a quarter of an hour, and a
    # retried create whose first reply was lost makes a second run.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # With a server, it prints two lines for each run that ends, and a progress bar for each upload.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def check_mlflow_version() -> None:
    """Raise ``UserError`` if MLflow's pages have another format."""
    require_version("mlflow", MLFLOW_VERSION)


def mlflow_client(where: Locations) -> MlflowClient:
    """A client with short timeouts and no output: the caller reports an unreachable server.

    The local MLflow of a home that was moved is corrected first.

    Raises:
        UserError: Another version of MLflow is installed.
    """
    check_mlflow_version()
    set_variables(_QUIET)
    reach_loopback_directly()
    from mlflow import MlflowClient

    # Importing mlflow sets its level, so this comes after.
    set_level(logging.WARNING, "alembic", "mlflow")
    set_level(logging.ERROR, "urllib3.connectionpool")
    if where.artifacts is not None:
        follow_home(where.artifacts.parent)
    return MlflowClient(where.tracking_uri)


def is_rejection(error: Exception) -> bool:
    """Whether MLflow was reached and rejected a value, which no retry changes."""
    code = getattr(error, "error_code", "")
    return code == "INVALID_PARAMETER_VALUE" or isinstance(error, PermissionError)


def error_summary(error: Exception) -> str:
    """The first line of an error, without the password that a tracking URI can hold."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"//[^/@\s]+@", "//", lines[0])[:200]


def log_in_batches(
    client: MlflowClient,
    run_id: str,
    metrics: list[Metric],
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> None:
    """Log in as few calls as MLflow allows, the params with the first, the tags with the last."""
    from mlflow.entities import Param

    starts = range(0, max(len(metrics), 1), METRICS_PER_CALL)
    for start in starts:
        client.log_batch(
            run_id,
            metrics=metrics[start : start + METRICS_PER_CALL],
            params=[Param(k, str(v)) for k, v in params.items()] if start == 0 else (),
            tags=as_tags(tags) if start == starts[-1] else (),
        )


def as_tags(values: Mapping[str, str]) -> list[RunTag]:
    """Tags of plain values."""
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
