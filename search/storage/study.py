"""The study: the one record of a search. Everything else is a view that can be made from it."""

from __future__ import annotations

import json
import math
import uuid
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import Integer, String, column, select, table

from search.storage.database import (
    Database,
    open_database,
    shared_database,
    sqlite_path,
    translated_errors,
)
from search.storage.errors import BusyStudy, NoSuchStudy, StudyError
from search.storage.optuna_space import configuration_from, distributions
from search.storage.transactions import exchange, finish
from search.storage.trials import (
    ATTEMPT,
    CONFIGURATION,
    FAILURE,
    RESULT,
    Reader,
    TrialRecord,
    read_records,
)
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

SEARCH = "tlc:search"
DATA = "tlc:data"
CURVE = "curve"
TEST = "tlc:test:"
STUDY_ID = "tlc:study_id"

_STUDIES = table("studies", column("study_id", Integer), column("study_name", String))
_ATTRIBUTES = table("study_user_attributes", column("study_id", Integer), column("key", String))
_NAMES = (
    select(_STUDIES.c.study_name)
    .join_from(_STUDIES, _ATTRIBUTES, _STUDIES.c.study_id == _ATTRIBUTES.c.study_id)
    # Studies of others may be in the same database.
    .where(_ATTRIBUTES.c.key == SEARCH)
)


class Study:
    """The record of one search, on Optuna's storage.

    Args:
        study: The Optuna study.
        storage: The database that it is in.
    """

    def __init__(self, study: optuna.Study, storage: Database) -> None:
        self.optuna = study
        self._storage = storage
        self.search = SearchFile.model_validate(study.user_attrs[SEARCH])
        self.space = SearchSpace(self.search)
        self._reader = Reader(storage.engine, study._study_id)

    @classmethod
    def open(cls, search: SearchFile, url: str) -> Study:
        """Open the study of a search, or create it.

        Raises:
            BusyStudy: A study of this name exists for another search file.
        """
        storage = open_database(url)
        with translated_errors(storage):
            study = optuna.create_study(
                storage=storage,
                study_name=search.name,
                directions=_directions(search),
                load_if_exists=True,
            )
            # Another file of this name may be opened at the same moment: one of them is first.
            if not exchange(storage.engine, study._study_id, SEARCH, None, search.to_dict()):
                _check_same(SearchFile.model_validate(study.user_attrs[SEARCH]), search)
                study.set_user_attr(SEARCH, search.to_dict())
            measured: list[str] = [search.metric.name, search.cost.name]
            study.set_metric_names(measured[: len(study.directions)])
            return cls(study, storage)

    @classmethod
    def load(cls, name: str, url: str) -> Study:
        """Open the study of a search that was started before.

        Raises:
            NoSuchStudy: There is none of this name.
        """
        known = names(url)
        if name not in known:
            listed = ", ".join(known) if known else "none yet"
            raise NoSuchStudy(f"no search named {name!r}; there is: {listed}")
        storage = open_database(url)
        with translated_errors(storage):
            return cls(optuna.load_study(study_name=name, storage=storage), storage)

    def ask(self) -> TrialRecord:
        """Create the next trial, as the study's sampler chooses it."""
        trial = self.optuna.ask(distributions(self.space))
        trial.set_user_attr(CONFIGURATION, self._meant(trial.params))
        return self.record(trial.number)

    @property
    def has_enqueued(self) -> bool:
        """Whether trials wait that somebody enqueued, which ``ask`` gives before all others."""
        return bool(self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def tell_result(
        self,
        number: int,
        result: dict[str, Any],
        curve: list[list[float]] | None = None,
        *,
        attempt: int = 1,
    ) -> bool:
        """Record the result of a trial, all of it at once.

        Args:
            number: The trial.
            result: The evaluation's values.
            curve: ``[step, training loss]`` over its training.
            attempt: The attempt at the trial that has this result.

        Returns:
            False when the trial was finished already, or is another attempt's by now: a second
            and a late report change nothing.
        """
        # As many as the study has directions: searches at a fixed cost once had two as well.
        measured = (result["score"], result[self.search.cost.name])
        values = [float(value) for value in measured[: len(self.optuna.directions)]]
        # Optuna takes infinity for a result, and it would sit on the frontier.
        if not all(map(math.isfinite, measured)):
            said = f"the result was {list(measured)}"
            return self.tell_failure(number, "not_finite", said, attempt=attempt)
        attributes = {RESULT: result, CURVE: curve or []}
        return self._finish(
            number, attempt, attributes, values, self.search.criteria.violations(result)
        )

    def tell_failure(self, number: int, state: str, message: str, *, attempt: int = 1) -> bool:
        """Record that a trial failed, in a named state; returns what ``tell_result`` does."""
        attributes = {FAILURE: {"state": state, "message": message[:2000]}}
        return self._finish(number, attempt, attributes, None, {})

    def take_over_unfinished(self) -> list[TrialRecord]:
        """Take over the trials that another driver left running, to run them under their numbers.

        Each begins its next attempt: what the other may still report of it is refused. Those that
        died before all their parameters were written have nothing to run and are closed.
        """
        left = []
        with translated_errors(self._storage):
            trials = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in trials:
            attempt = trial.user_attrs.get(ATTEMPT, 1)
            is_new = CONFIGURATION not in trial.user_attrs
            if is_new and not distributions(self.space).keys() <= trial.params.keys():
                self._finish(trial.number, attempt, {}, None, {})
                continue
            try:
                if is_new:
                    meant = self._meant(trial.params)
                    self._storage.set_trial_user_attr(trial._trial_id, CONFIGURATION, meant)
                self._storage.set_trial_user_attr(trial._trial_id, ATTEMPT, attempt + 1)
            except UpdateFinishedTrialError:
                # The other has just told it.
                continue
            left.append(self.record(trial.number))
        return left

    def records(self) -> list[TrialRecord]:
        """All trials that have a configuration, by number."""
        with translated_errors(self._storage):
            return self._reader.records()

    @property
    def attributes(self) -> dict[str, Any]:
        """What is known of the search as a whole, as it is now."""
        with translated_errors(self._storage):
            return self.optuna.user_attrs

    def exchange(self, key: str, old: Any | None, new: Any) -> bool:
        """Change an attribute if it still is what was read; returns whether it was.

        Args:
            key: Of the attribute.
            old: What was read; None where there was none.
            new: What it becomes.
        """
        with translated_errors(self._storage):
            return exchange(self._storage.engine, self.optuna._study_id, key, old, new)

    def record(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            NoSuchStudy: There is no trial of this number.
        """
        found = read_records(self._storage.engine, self.optuna._study_id, number=number)
        if not found:
            raise NoSuchStudy(f"search {self.search.name!r} has no trial {number}")
        return found[0]

    def curve(self, number: int) -> list[list[float]]:
        """``[step, training loss]`` over the training of a trial."""
        with translated_errors(self._storage):
            trial = self._storage.get_trial(self._trial_id(number))
        points: list[list[float]] = trial.user_attrs.get(CURVE, [])
        return points

    def set_data(self, facts: dict[str, Any]) -> None:
        """Record the fingerprint of the data that the search runs on.

        Raises:
            StudyError: Earlier trials ran on other data.
        """
        recorded = self.optuna.user_attrs.get(DATA)
        if recorded is not None and recorded["fingerprint"] != facts["fingerprint"]:
            raise StudyError(
                f"the data of search {self.search.name!r} has changed since its first trial; "
                "put it back, or give the search another name"
            )
        self.optuna.set_user_attr(DATA, facts)

    @property
    def data(self) -> dict[str, Any]:
        """Facts of the data, empty before the first run."""
        facts: dict[str, Any] = self.optuna.user_attrs.get(DATA, {})
        return facts

    def tests(self) -> dict[int, dict[str, Any]]:
        """What the test split gave, by trial number."""
        return tests_of(self.optuna.user_attrs)

    def set_test(self, number: int, values: dict[str, Any]) -> None:
        """Record what the test split gave for a trial."""
        self.optuna.set_user_attr(f"{TEST}{number}", values)

    @property
    def study_id(self) -> str:
        """A random id, made once: two studies on one server may share a name."""
        known: str | None = self.optuna.user_attrs.get(STUDY_ID)
        if known is None:
            known = uuid.uuid4().hex[:12]
            self.optuna.set_user_attr(STUDY_ID, known)
        return known

    def _meant(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The configuration that Optuna's parameters mean, as plain values."""
        return configuration_from(self.space, parameters).to_dict()

    def _finish(
        self,
        number: int,
        attempt: int,
        attributes: dict[str, Any],
        values: list[float] | None,
        constraints: dict[str, float],
    ) -> bool:
        with translated_errors(self._storage):
            trial = self._storage.get_trial(self._trial_id(number))
            if trial.state.is_finished():
                return False
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self.optuna.sampler.after_trial(self.optuna, trial, state, values)
            return finish(
                self._storage.engine,
                trial._trial_id,
                attempt=attempt,
                values=values,
                attributes=attributes,
                constraints=constraints,
            )

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)


def tests_of(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What the test split gave, by trial number, from a study's attributes."""
    return {
        int(key.removeprefix(TEST)): value
        for key, value in attributes.items()
        if key.startswith(TEST)
    }


def load_all(url: str) -> list[Study]:
    """Every search of a storage, by name."""
    return [Study.load(name, url) for name in names(url)]


def names(url: str) -> list[str]:
    """Names of the searches in a storage."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return []
    database = shared_database(url)
    with translated_errors(database), database.engine.connect() as connection:
        return sorted(connection.execute(_NAMES).scalars())


def _directions(search: SearchFile) -> list[StudyDirection]:
    """Which way each value of a trial is better; at a fixed cost the score is the only one."""
    is_maximised = search.metric.is_maximised
    of_score = StudyDirection.MAXIMIZE if is_maximised else StudyDirection.MINIMIZE
    return [of_score] if search.is_at_fixed_cost else [of_score, StudyDirection.MINIMIZE]


def _check_same(recorded: SearchFile, given: SearchFile) -> None:
    differing = _differences(recorded.identity(), given.identity())
    if differing:
        raise BusyStudy(
            f"a search named {given.name!r} exists with another {', '.join(differing)}; "
            "give this one another name (name: in the file, or --set name=...)"
        )


def _differences(recorded: Any, given: Any, path: str = "") -> list[str]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        return [
            difference
            for key in sorted({*recorded, *given})
            for difference in _differences(
                recorded.get(key), given.get(key), f"{path}.{key}" if path else key
            )
        ]
    return [] if json.dumps(recorded) == json.dumps(given) else [path]
