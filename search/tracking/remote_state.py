"""What MLflow has of a search, read from MLflow; what was sent is not remembered elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search.mlflow_links import MlflowLinks
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import optional_costs
from spaces.errors import UserError
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "parent"
KEY = "tlc.key"
"""Tag of every run: ``<study id>/<trial number>``, or ``<study id>/parent``."""
STEPS_SENT = "tlc.steps_sent"
REFERENCES_SENT = "tlc.references"
"""Tag of the parent run: the names of the references whose metrics it has."""
PARENT_TAG = "mlflow.parentRunId"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Marks the experiment as one of model training and not of traces of language models."""
RUNS_PER_PAGE = 1000
LATENCY_TAG = "tlc.latency_ms"
"""Tag of a trial's run: the latency that its metrics show, which are written before it."""


class DeletedInMlflow(UserError):
    """A user deleted the experiment or the run in MLflow; tlc does not create it again."""


@dataclass(frozen=True)
class RunState:
    """What a run shows of its trial; if it equals the trial's, nothing has to be sent."""

    state: str
    on_frontier: bool
    parent: str
    latency_ms: str = ""
    """As text, with other measured costs; empty where there is none. It changes when times are
    restated."""

    @classmethod
    def of(cls, record: TrialRecord[Any], *, on_frontier: bool, parent: str) -> RunState:
        """What the run of a trial is to show."""
        names = ("latency_ms", *optional_costs(record.result))
        shown = ", ".join(f"{record.result[name]:.6g}" for name in names if name in record.result)
        return cls(record.state, on_frontier, parent, shown)


@dataclass
class RemoteState:
    """What MLflow has of a search; the sender updates it after each call.

    Args:
        experiment: Identifier of the experiment.
        experiment_tags: Keys of the experiment's tags.
        runs: Run identifiers, by trial number as text, or ``parent``.
        deleted: Keys of runs that a user deleted.
        run_states: States of the runs that are complete in MLflow, by the same keys.
        has_references: Whether the metrics of the references were sent.
        steps_sent: Finished trials whose search metrics were sent.
        status: Status of the parent run.
    """

    client: MlflowClient
    experiment: str
    experiment_tags: set[str]
    runs: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    run_states: dict[str, RunState] = field(default_factory=dict)
    has_references: bool = False
    steps_sent: int = 0
    status: str = ""

    @property
    def links(self) -> MlflowLinks:
        """Addresses of the search's pages."""
        trials = {int(key): run_id for key, run_id in self.runs.items() if key != PARENT}
        return MlflowLinks(self.experiment, self.runs[PARENT], trials)


def read_remote_state(
    client: MlflowClient, name: str, study_id: str, where: Locations
) -> RemoteState:
    """Read what MLflow has of a search, and create its experiment if there is none.

    Args:
        client: Client of the tracking server.
        name: Name of the search and of its experiment.
        study_id: Two studies of one name may share an experiment.
        where: Names the artefacts' folder.

    Raises:
        DeletedInMlflow: A user deleted the experiment.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = where.artifacts and (where.artifacts / name).as_uri()
        created = client.create_experiment(name, artifact_location=location, tags=KIND)
        return RemoteState(client, created, set(KIND))
    if experiment.lifecycle_stage == "deleted":
        raise DeletedInMlflow(
            f"experiment {name!r} was deleted in MLflow; "
            f"mlflow experiments restore -x {experiment.experiment_id} brings it back"
        )
    remote = RemoteState(client, experiment.experiment_id, set(experiment.tags))
    # A create that timed out here can have succeeded there, after the runs were listed.
    duplicates = [run.info.run_id for run in _runs(remote, study_id) if not _add_run(remote, run)]
    for run_id in duplicates:
        client.delete_run(run_id)
    remote.deleted -= remote.runs.keys()
    return remote


def find_run(client: MlflowClient, experiment: str, key: str) -> str | None:
    """The run of a key, ``<study id>/<number>`` or ``.../parent``, or None."""
    found = client.search_runs([experiment], filter_string=f"tags.`{KEY}` = '{key}'")
    return str(found[0].info.run_id) if found else None


def _runs(remote: RemoteState, study_id: str) -> Iterator[Any]:
    from mlflow.entities import ViewType

    return every_run(
        remote.client,
        remote.experiment,
        filter_string=f"tags.`{KEY}` LIKE '{study_id}/%'",
        run_view_type=ViewType.ALL,
    )


def every_run(client: MlflowClient, experiment: str, **query: Any) -> Iterator[Any]:
    """The runs of an experiment, page after page.

    Args:
        query: Further arguments of ``MlflowClient.search_runs``.
    """
    token = None
    while True:
        page = client.search_runs(
            [experiment], max_results=RUNS_PER_PAGE, page_token=token, **query
        )
        yield from page
        token = page.token
        if not token:
            return


def _add_run(remote: RemoteState, run: Any) -> bool:
    """Add a run to the state; returns False for a duplicate of an earlier one."""
    tags = run.data.tags
    key = tags[KEY].rpartition("/")[2]
    if run.info.lifecycle_stage == "deleted":
        remote.deleted.add(key)
        return True
    if key in remote.runs:
        return False
    remote.runs[key] = run.info.run_id
    if key == PARENT:
        remote.has_references = REFERENCES_SENT in tags
        remote.steps_sent = int(tags.get(STEPS_SENT, 0))
        remote.status = run.info.status
    # The status is written last: a run that is still RUNNING may be incomplete.
    elif run.info.status != "RUNNING":
        remote.run_states[key] = RunState(
            state=tags.get("tlc.state", ""),
            on_frontier=tags.get("on_frontier") == "true",
            parent=tags.get(PARENT_TAG, ""),
            latency_ms=tags.get(LATENCY_TAG, ""),
        )
    return True
