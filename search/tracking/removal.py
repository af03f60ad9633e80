"""Deleting and renaming what MLflow has of a search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from search.tracking.client import error_summary, mlflow_client
from search.tracking.remote_state import KEY, every_run
from spaces.errors import UserError
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow import MlflowClient


class MlflowUnavailable(UserError):
    """MLflow cannot be reached, or refuses."""


def delete_runs(name: str, study_id: str, where: Locations) -> int:
    """Delete the runs of a search, and its experiment if it has no others; returns their number.

    As everything that is deleted in MLflow, they can be restored, and use disk, until ``mlflow gc``
    removes them. The name of the experiment is free at once.

    Raises:
        MlflowUnavailable: MLflow cannot be reached, or refuses.
    """
    with _errors(where):
        client = mlflow_client(where)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return 0
        number = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            # Only an active one can be renamed.
            client.restore_experiment(number)
        own, others = _runs(client, number, study_id)
        if others:
            for run in own:
                client.delete_run(run)
        else:
            client.rename_experiment(number, f"{name} (deleted, study {study_id})")
            client.delete_experiment(number)
        return len(own)


def rename_experiment(name: str, new: str, where: Locations) -> None:
    """Rename the experiment of a search, where there is one.

    Raises:
        MlflowUnavailable: An experiment has the new name, or MLflow cannot be reached.
    """
    with _errors(where):
        client = mlflow_client(where)
        if client.get_experiment_by_name(new) is not None:
            raise MlflowUnavailable(
                f"MLflow has an experiment named {new!r} already; give another name"
            )
        experiment = client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "active":
            client.rename_experiment(experiment.experiment_id, new)


def _runs(client: MlflowClient, experiment: str, study_id: str) -> tuple[list[str], list[str]]:
    """The active runs of an experiment: those of a study, and the others."""
    own, others = list[str](), list[str]()
    for run in every_run(client, experiment):
        is_own = run.data.tags.get(KEY, "").startswith(f"{study_id}/")
        (own if is_own else others).append(run.info.run_id)
    return own, others


@contextmanager
def _errors(where: Locations) -> Iterator[None]:
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, OSError) as error:
        raise MlflowUnavailable(
            f"MLflow at {where.tracking_uri}: {error_summary(error)}; nothing was changed"
        ) from error
