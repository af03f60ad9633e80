"""What MLflow has of a search, read from MLflow and never remembered from what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spaces.errors import UserError
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "parent"
KEY = "tlc.key"
"""Tag that tells which trial a run is: ``<mark of the study>/<number>``, or ``.../parent``."""
STEPS_SENT = "tlc.steps_sent"
PARENT_TAG = "mlflow.parentRunId"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tells MLflow that an experiment is not one of traces of language models."""
RUNS_PER_PAGE = 1000


class DeletedInMlflow(UserError):
    """What was deleted in MLflow by hand is not made again."""


@dataclass(frozen=True)
class RunState:
    """What a run of MLflow shows of a trial; equal when nothing has to be sent."""

    state: str
    on_frontier: bool
    parent: str


@dataclass
class RemoteState:
    """What MLflow has of a search, kept up to date while it is sent.

    Args:
        client: Of the tracking server.
        experiment: Identifier of the experiment.
        tags: Keys of the experiment's tags.
        runs: Identifiers of runs, by trial number as text, or ``parent``.
        deleted: Keys of runs that were deleted by hand.
        shown: What runs show that lack nothing, by the same keys.
        steps_sent: Finished trials after which the progress was sent.
        status: Of the parent run.
    """

    client: MlflowClient
    experiment: str
    tags: set[str]
    runs: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    shown: dict[str, RunState] = field(default_factory=dict)
    steps_sent: int = 0
    status: str = ""

    @property
    def trials(self) -> dict[int, str]:
        """Identifiers of the trials' runs, by number."""
        return {int(key): run for key, run in self.runs.items() if key != PARENT}


def read_remote_state(client: MlflowClient, name: str, mark: str, where: Locations) -> RemoteState:
    """Read what MLflow has of a search, and make its experiment where there is none.

    Args:
        client: Of the tracking server.
        name: Of the search, and of its experiment.
        mark: Of the study: two of one name may share an experiment.
        where: The artefacts' folder.

    Raises:
        DeletedInMlflow: The experiment was deleted by hand.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        folder = where.artifacts
        location = None if folder is None else (folder / name).as_uri()
        made = client.create_experiment(name, artifact_location=location, tags=KIND)
        return RemoteState(client, made, set(KIND))
    if experiment.lifecycle_stage == "deleted":
        raise DeletedInMlflow(
            f"experiment {name!r} was deleted in MLflow; "
            f"mlflow experiments restore -x {experiment.experiment_id} brings it back"
        )
    remote = RemoteState(client, experiment.experiment_id, set(experiment.tags))
    # A create that timed out here and went through there, after it was looked for.
    duplicates = [run.info.run_id for run in _runs(remote, mark) if not _add_run(remote, run)]
    for run_id in duplicates:
        client.delete_run(run_id)
    remote.deleted -= remote.runs.keys()
    return remote


def find_run(client: MlflowClient, experiment: str, key: str) -> str | None:
    """The run that has a key, ``<mark of the study>/<number>`` or ``.../parent``; None without."""
    found = client.search_runs([experiment], filter_string=f"tags.`{KEY}` = '{key}'")
    return str(found[0].info.run_id) if found else None


def _runs(remote: RemoteState, mark: str) -> Iterator[Any]:
    from mlflow.entities import ViewType

    token = None
    while True:
        page = remote.client.search_runs(
            [remote.experiment],
            filter_string=f"tags.`{KEY}` LIKE '{mark}/%'",
            run_view_type=ViewType.ALL,
            max_results=RUNS_PER_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _add_run(remote: RemoteState, run: Any) -> bool:
    """Take note of a run; tells whether it is the only one of its trial so far."""
    tags = run.data.tags
    key = tags[KEY].rpartition("/")[2]
    if run.info.lifecycle_stage == "deleted":
        remote.deleted.add(key)
        return True
    if key in remote.runs:
        return False
    remote.runs[key] = run.info.run_id
    if key == PARENT:
        remote.steps_sent = int(tags.get(STEPS_SENT, 0))
        remote.status = run.info.status
    # The status is written last: a run that still says RUNNING may lack something.
    elif run.info.status != "RUNNING":
        remote.shown[key] = RunState(
            state=tags.get("tlc.state", ""),
            on_frontier=tags.get("on_frontier") == "true",
            parent=tags.get(PARENT_TAG, ""),
        )
    return True
