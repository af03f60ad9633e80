"""Logging reports as artefacts of a search's run in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from search.storage.study import Study
from search.tracking.remote_state import PARENT, find_run
from search.tracking.tracker import sync_unless_running
from spaces.file.storage import Locations

log = logging.getLogger(__name__)


def log_artefacts(study: Study, where: Locations, files: Sequence[Path], folder: str) -> bool:
    """Log files to a folder of the search's parent run; returns whether MLflow has them.

    The search is sent first where MLflow lacks it, unless it is running and sends itself.
    """
    try:
        from mlflow import MlflowClient

        sync_unless_running(study, where)
        client = MlflowClient(where.tracking_uri)
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
