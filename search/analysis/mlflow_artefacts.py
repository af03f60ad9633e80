"""Writing the page of a report, and logging files as artefacts of a search's run in MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.storage.function_study import FunctionStudy
from search.storage.study import Study
from search.tracking.client import mlflow_client
from search.tracking.remote_state import PARENT, find_run
from search.tracking.tracker import sync_unless_running
from spaces.errors import UserError
from spaces.file.storage import Locations, Storage

log = logging.getLogger(__name__)


FILE = "report.html"


@dataclass(frozen=True)
class Report:
    """The page of a report, and whether MLflow has it."""

    path: Path
    is_tracked: bool


def write_page(
    study: Study | FunctionStudy, storage: Storage, page: str, folder: Path | None
) -> Report:
    """Write the page of a report, and log it.

    Args:
        folder: Where to write it; without one, among the reports of the search.

    Raises:
        UserError: The folder cannot be written.
    """
    where = Locations.of(storage)
    path = (folder or where.reports / study.search.name) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{FILE}.new")
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error
    return Report(path, log_artefacts(study, where, [path], "report"))


def log_artefacts(
    study: Study | FunctionStudy, where: Locations, files: Sequence[Path], folder: str
) -> bool:
    """Log files to a folder of the search's parent run; returns whether MLflow has them.

    The search is sent first where MLflow lacks it, unless it is running and sends itself.
    """
    try:
        sync_unless_running(study, where)
        client = mlflow_client(where)
        experiment = client.get_experiment_by_name(study.search.name)
        if experiment is None:
            return False
        run = find_run(client, experiment.experiment_id, f"{study.study_id}/{PARENT}")
        if run is None:
            return False
        for path in files:
            client.log_artifact(run, str(path), folder)
        return True
    except Exception as error:
        # Anything that MLflow or its transport raises: the files are written all the same.
        log.warning("the report of %s is not in MLflow: %s", study.search.name, error)
        return False
