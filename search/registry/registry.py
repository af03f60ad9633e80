"""The best models of a search in MLflow's Model Registry, each once, under aliases.

The tags of the versions say what is registered already: a second call, also after a kill, adds only
what is missing.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from search.hypervolume import Scale
from search.pareto import best
from search.registry.export import prepared_data, write_model_folder
from search.registry.model_card import summary
from search.registry.pyfunc_model import input_example, log_and_register, requirements
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.tracking.client import error_summary, mlflow_client
from search.tracking.remote_state import KEY, find_run
from search.tracking.tracker import sync_unless_running
from search.tracking.trial_run import trial_params
from spaces.errors import UserError
from spaces.file.own_task import OwnTask
from spaces.file.search_file import NAME_PATTERN, NAME_RULE
from spaces.file.storage import Locations

CHAMPION = "champion"
MODEL_TAG = "tlc.model"
ONNX_TAG = "tlc.onnx"


class RegistryError(UserError):
    """MLflow cannot register a model."""


class RegisteredVersion(NamedTuple):
    """One registered version."""

    number: str
    trial: int
    """The trial whose model it is."""
    aliases: tuple[str, ...]
    is_new: bool
    """Whether this call registered it."""


class Registration(NamedTuple):
    """The registered models of a search."""

    name: str
    tracking_uri: str
    versions: tuple[RegisteredVersion, ...]
    """The champion's first, then by cost level."""


def register(
    study: Study, champion: TrialRecord, name: str, *, with_onnx: bool = False
) -> Registration:
    """Register the champion of a search and the best model at each fixed cost level.

    Unless the search is running, it is sent to MLflow first, so that each version has the run of
    its trial.

    Args:
        with_onnx: Whether the models run in ONNX Runtime, and need neither torch nor transformers.

    Raises:
        UserError: The name is not allowed, a model is gone, or MLflow is away or refuses.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RegistryError(f"--as: {name!r} is not allowed; {NAME_RULE}")
    if isinstance(study.search.task, OwnTask):
        raise RegistryError(
            f"the models of {study.search.task.name} need code of yours for their inputs, and a "
            "registered model must not; tlc export writes their weights"
        )
    import requests
    from mlflow.exceptions import MlflowException

    where = Locations.of(study.search.storage)
    try:
        sync_unless_running(study, where)
        chosen = {CHAMPION: champion, **best_by_level(study)}
        with _active_mlflow(where.tracking_uri):
            registrar = _Registrar(study, where, name, with_onnx=with_onnx)
            versions = [
                registrar.version(record, tuple(a for a, r in chosen.items() if r.number == number))
                for number, record in {r.number: r for r in chosen.values()}.items()
            ]
    except (MlflowException, requests.RequestException, OSError) as error:
        raise RegistryError(f"MLflow at {where.tracking_uri}: {error_summary(error)}") from error
    return Registration(name, where.tracking_uri, tuple(versions))


@contextmanager
def _active_mlflow(tracking_uri: str) -> Iterator[None]:
    """Make a tracking server the active one of this process, on which models are logged; after it,
    that one and the active experiment are as before."""
    from mlflow.tracking import fluent
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    before = fluent._active_experiment_id
    try:
        with _use_tracking_uri(tracking_uri):
            yield
    finally:
        fluent._active_experiment_id = before


def best_by_level(study: Study) -> dict[str, TrialRecord]:
    """The best trial at each fixed cost level that has one, by alias, such as ``size-mb-0-12``."""
    records, criteria = study.records(), study.search.criteria
    cost = criteria.cost.name
    found = {
        level_alias(cost, level): best(records, criteria, {cost: level})
        for level in Scale.of(study.space).levels()
    }
    return {alias: record for alias, record in found.items() if record is not None}


def level_alias(cost: str, level: float) -> str:
    """Name of a cost level in the letters that MLflow allows: ``size-mb-0-12``."""
    plain = f"{level:f}".rstrip("0").rstrip(".")
    return f"{cost}-{plain}".replace("_", "-").replace(".", "-")


class _Registrar:
    """Registers trials of a search under one name."""

    def __init__(self, study: Study, where: Locations, name: str, *, with_onnx: bool) -> None:
        import mlflow

        self._study = study
        self._name = name
        self._with_onnx = with_onnx
        self._client = mlflow_client(where)
        experiment = self._client.get_experiment_by_name(study.search.name)
        if experiment is None:
            raise RegistryError(
                f"search {study.search.name!r} is running and not in MLflow yet; try again soon"
            )
        self._experiment_id = experiment.experiment_id
        mlflow.set_experiment(experiment_id=self._experiment_id)

    def version(self, record: TrialRecord, aliases: tuple[str, ...]) -> RegisteredVersion:
        """The version of a trial's model, registered if it is missing, with its aliases."""
        tags = {
            KEY: f"{self._study.study_id}/{record.number}",
            MODEL_TAG: record.result["model"],
            ONNX_TAG: str(self._with_onnx).lower(),
            "tlc.search": self._study.search.name,
            "tlc.trial": str(record.number),
        }
        number = self._find(tags)
        is_new = number is None
        if number is None:
            number = self._register(record, tags)
        for alias in aliases:
            self._client.set_registered_model_alias(self._name, alias, number)
        return RegisteredVersion(number, record.number, aliases, is_new)

    def _find(self, tags: dict[str, str]) -> str | None:
        filters = [f"name = '{self._name}'"]
        filters += [f"tags.`{key}` = '{tags[key]}'" for key in (KEY, MODEL_TAG, ONNX_TAG)]
        found = self._client.search_model_versions(" AND ".join(filters))
        return str(found[0].version) if found else None

    def _register(self, record: TrialRecord, tags: dict[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        search = self._study.search.alone(record.configuration.checkpoint)
        with suppress(MlflowException):
            # It exists after the first time; any other error, the next call reports.
            self._client.create_registered_model(
                self._name,
                tags={"tlc.search": search.name},
                description=f"The best models of the tlc search {search.name}.",
            )
        with tempfile.TemporaryDirectory() as folder:
            data = prepared_data(self._study, record)
            bundle = write_model_folder(
                self._study, record, data, Path(folder), with_onnx=self._with_onnx
            )
            number = log_and_register(
                Path(folder),
                input_example(search.data, search.task.name),
                requirements(bundle, search.data),
                name=f"{search.name}-{record.number}",
                registered_model_name=self._name,
                # None if it was deleted by hand.
                run_id=find_run(self._client, self._experiment_id, tags[KEY]),
                model_type=search.task.name,
                params=trial_params(record, search.space.budget.unit),
                tags=tags,
            )
        description = summary(self._study, record)
        self._client.update_model_version(self._name, number, description=description)
        return number
