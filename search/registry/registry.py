"""The winning models of a search in MLflow's Model Registry, each once, under aliases.

What is registered is read from the registry, by tags, as the mirror reads runs: a second call, or
one after a kill, adds only what is missing.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives.data.prepared_data import PreparedData
from search.pareto import Scale, best
from search.registry.export import prepared_data, write_model_folder
from search.registry.model_card import summary
from search.registry.pyfunc_model import save
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.client import mlflow_client
from search.tracking.remote_state import KEY, find_run
from search.tracking.tracker import sync_unless_running
from search.tracking.trial_run import trial_metrics, trial_params
from spaces.errors import UserError
from spaces.file.search_file import NAME_PATTERN
from spaces.file.storage import Locations

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
MODEL_TAG = "tlc.model"


class RegistryError(UserError):
    """MLflow cannot register a model."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One registered version.

    Args:
        number: Its number in the registry.
        trial: The trial whose model it is.
        aliases: What points to it.
        is_new: Whether it was registered now.
    """

    number: str
    trial: int
    aliases: tuple[str, ...]
    is_new: bool


@dataclass(frozen=True)
class Registration:
    """What the registry has of a search.

    Args:
        name: Name of the registered model.
        tracking_uri: Where the registry is.
        versions: The champion's first, then by cost level.
    """

    name: str
    tracking_uri: str
    versions: tuple[RegisteredVersion, ...]


def register(study: Study, champion: TrialRecord, name: str) -> Registration:
    """Register the champion of a search and the best model at each fixed cost level.

    The search is sent to MLflow before, unless it is running and sends itself, so that each version
    leads to the run of its trial.

    Args:
        study: The record.
        champion: A complete trial.
        name: Name of the registered model.

    Raises:
        UserError: The name is not allowed, a model is gone, or MLflow is away or refuses.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RegistryError(
            f"--as: {name!r} is not allowed; a name has letters, digits, _ and -, at most 64, and "
            "starts with a letter or digit"
        )
    where = Locations.of(study.search.storage)
    data = prepared_data(study)
    with _told(where):
        sync_unless_running(study, where)
        registrar = _Registrar(study, data, where, name)
        wanted = {CHAMPION: champion, **best_by_level(study)}
        versions = [
            registrar.version(record, [a for a, r in wanted.items() if r.number == number])
            for number, record in {r.number: r for r in wanted.values()}.items()
        ]
    return Registration(name, where.tracking_uri, tuple(versions))


def best_by_level(study: Study) -> dict[str, TrialRecord]:
    """The best trial at each fixed cost level that has one, by alias, such as ``size-mb-0-12``."""
    search, records = study.search, study.records()
    found = {
        level_alias(search.cost.name, level): best(
            records, search.criteria, {search.cost.name: level}
        )
        for level in Scale.of(study.space).levels()
    }
    return {name: record for name, record in found.items() if record is not None}


def level_alias(cost: str, level: float) -> str:
    """Name of a cost level in the letters that MLflow allows: ``size-mb-0-12``."""
    plain = f"{level:f}".rstrip("0").rstrip(".")
    return f"{cost}-{plain}".replace("_", "-").replace(".", "-")


class _Registrar:
    """Registers trials under one name."""

    def __init__(self, study: Study, data: PreparedData, where: Locations, name: str) -> None:
        self._study = study
        self._data = data
        self._name = name
        self._client = mlflow_client(where.tracking_uri)
        self._experiment = self._client.get_experiment_by_name(study.search.name)
        if self._experiment is None:
            raise RegistryError(
                f"search {study.search.name!r} is running and not in MLflow yet; try again soon"
            )
        self._known = _known_versions(self._client, name)

    def version(self, record: TrialRecord, aliases: list[str]) -> RegisteredVersion:
        """The version of a trial's model, made if there is none, with its aliases."""
        key = (f"{self._study.study_id}/{record.number}", record.result["model"])
        is_new = key not in self._known
        if is_new:
            self._known[key] = self._make(record, key)
        number = self._known[key]
        for each in aliases:
            self._client.set_registered_model_alias(self._name, each, number)
        return RegisteredVersion(number, record.number, tuple(aliases), is_new)

    def _make(self, record: TrialRecord, key: tuple[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            # It is there after the first time; what else is wrong, the next call tells.
            self._client.create_registered_model(
                self._name,
                tags={"tlc.search": self._study.search.name},
                description=f"The best models of the tlc search {self._study.search.name}.",
            )
        # None where it was deleted by hand.
        run = find_run(self._client, self._experiment.experiment_id, key[0])
        logged = self._log(record, run)
        made = self._client.create_model_version(
            self._name,
            source=logged.artifact_location,
            run_id=run,
            tags={
                KEY: key[0],
                MODEL_TAG: key[1],
                "tlc.search": self._study.search.name,
                "tlc.trial": str(record.number),
            },
            description=summary(self._study, record),
            model_id=logged.model_id,
        )
        return str(made.version)

    def _log(self, record: TrialRecord, run: str | None) -> Any:
        """Log the model of a trial, with its params and metrics."""
        from mlflow.entities import LoggedModelOutput, Metric

        search = self._study.search
        params = {k: str(v) for k, v in trial_params(record, search.space.budget.unit).items()}
        logged = self._client.create_logged_model(
            self._experiment.experiment_id,
            name=f"{search.name}-{record.number}",
            source_run_id=run,
            params=params,
            tags={MODEL_TAG: record.result["model"]},
            model_type=search.task.name,
        )
        with tempfile.TemporaryDirectory() as scratch:
            exported = Path(scratch) / "exported"
            exported.mkdir()
            write_model_folder(self._study, record, self._data, exported)
            folder = save(exported, search, logged, run, Path(scratch) / "mlflow")
            self._client.log_model_artifacts(logged.model_id, str(folder))
        if run is not None:
            self._client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
            metrics = [
                Metric(m.key, m.value, m.timestamp, m.step, model_id=logged.model_id, run_id=run)
                for m in trial_metrics(record, [])
            ]
            self._client.log_batch(run, metrics=metrics)
        return self._client.finalize_logged_model(logged.model_id, "READY")


def _known_versions(client: MlflowClient, name: str) -> dict[tuple[str, str], str]:
    """Versions that are registered, by key and address of their model."""
    known: dict[tuple[str, str], str] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        for version in page:
            key = (version.tags.get(KEY, ""), version.tags.get(MODEL_TAG, ""))
            known.setdefault(key, str(version.version))
        token = page.token
        if not token:
            return known


@contextmanager
def _told(where: Locations) -> Iterator[None]:
    """What MLflow or its transport raises, as a message."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RegistryError(f"MLflow at {where.tracking_uri}: {reason[:300]}") from error
