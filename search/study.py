"""The study: the one record of a search. Everything else is a view that can be made from it."""

from __future__ import annotations

import json
import math
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Integer, String, column, select, table
from sqlalchemy.exc import SQLAlchemyError

from objectives.locks import Busy, exclusive_or_busy
from search.grid import configuration_from, distributions
from search.records import CONFIGURATION, FAILURE, RESULT, Reader, Record, read_records, violations
from spaces.errors import UserError
from spaces.places import without_password
from spaces.search_file import SearchFile
from spaces.search_space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

SEARCH = "tlc:search"
DATA = "tlc:data"
CURVE = "curve"
TEST = "tlc:test:"
MARK = "tlc:mark"

_STUDIES = table("studies", column("study_id", Integer), column("study_name", String))
_ATTRIBUTES = table("study_user_attributes", column("study_id", Integer), column("key", String))
_NAMES = (
    select(_STUDIES.c.study_name)
    .join_from(_STUDIES, _ATTRIBUTES, _STUDIES.c.study_id == _ATTRIBUTES.c.study_id)
    # Studies of others may be in the same database.
    .where(_ATTRIBUTES.c.key == SEARCH)
)


class StudyError(UserError):
    """A study that is not there, belongs to another search, or cannot be opened."""


class NoSuchStudy(StudyError):
    """There is no study, or no trial, of that name."""


class BusyStudy(StudyError):
    """What was asked for does not go together with what the study is or does now."""


class StudyAway(StudyError):
    """The study's database cannot be reached."""


class Study:
    """The record of one search, on Optuna's storage.

    Args:
        study: The Optuna study.
        storage: The database that it is in.
    """

    def __init__(self, study: optuna.Study, storage: RDBStorage) -> None:
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
        storage = _storage(url)
        study = optuna.create_study(
            storage=storage,
            study_name=search.name,
            directions=["maximize" if search.metric.is_maximised else "minimize", "minimize"],
            load_if_exists=True,
        )
        recorded = study.user_attrs.get(SEARCH)
        if recorded is not None:
            differing = _differences(
                SearchFile.model_validate(recorded).identity(), search.identity()
            )
            if differing:
                raise BusyStudy(
                    f"a search named {search.name!r} exists with another {', '.join(differing)}; "
                    "give this one another name (name: in the file, or --set name=...)"
                )
        study.set_user_attr(SEARCH, search.to_dict())
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
        storage = _storage(url)
        return cls(optuna.load_study(study_name=name, storage=storage), storage)

    def ask(self) -> Record:
        """Create the next trial, as the study's sampler chooses it."""
        trial = self.optuna.ask(distributions(self.space))
        configuration = configuration_from(self.space, trial.params)
        trial.set_user_attr(CONFIGURATION, configuration.to_dict())
        return self.record(trial.number)

    @property
    def has_enqueued(self) -> bool:
        """Whether trials wait that somebody enqueued, which ``ask`` gives before all others."""
        return bool(self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def tell_result(
        self, number: int, result: dict[str, Any], curve: list[list[float]] | None = None
    ) -> bool:
        """Record the result of a trial; the last write is the one that completes it.

        Returns:
            False when the trial was finished already: a second report changes nothing.
        """
        values = [float(result["score"]), float(result[self.search.cost])]
        # Optuna takes infinity for a result, and it would sit on the frontier.
        if not all(map(math.isfinite, values)):
            return self.tell_failure(number, "not_finite", f"the result was {values}")
        trial = self._running(number)
        if trial is None:
            return False
        trial.set_user_attr(CURVE, curve or [])
        for constraint, excess in violations(self.search, result).items():
            trial.set_constraint(constraint, excess)
        trial.set_user_attr(RESULT, result)
        self.optuna.tell(number, values)
        return True

    def tell_failure(self, number: int, state: str, message: str) -> bool:
        """Record that a trial failed, in a named state; returns False when it was finished."""
        trial = self._running(number)
        if trial is None:
            return False
        trial.set_user_attr(FAILURE, {"state": state, "message": message[:2000]})
        self.optuna.tell(number, state=TrialState.FAIL)
        return True

    def unfinished(self) -> list[Record]:
        """Trials that a dead driver left running, to be run again under their numbers.

        Those whose result was written but not told are told now; those that died before their
        configuration was written have nothing to run and are closed.
        """
        left = []
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if RESULT in trial.user_attrs:
                self.tell_result(
                    trial.number, trial.user_attrs[RESULT], trial.user_attrs.get(CURVE)
                )
            elif CONFIGURATION in trial.user_attrs:
                left.append(self.record(trial.number))
            else:
                self.optuna.tell(trial.number, state=TrialState.FAIL)
        return left

    def records(self) -> list[Record]:
        """All trials that have a configuration, by number."""
        return self._reader.records()

    def record(self, number: int) -> Record:
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
    def mark(self) -> str:
        """A random name of this record, made once: two studies on one server may share a name."""
        known: str | None = self.optuna.user_attrs.get(MARK)
        if known is None:
            known = uuid.uuid4().hex[:12]
            self.optuna.set_user_attr(MARK, known)
        return known

    def _running(self, number: int) -> optuna.Trial | None:
        trial_id = self._trial_id(number)
        if self._storage.get_trial(trial_id).state.is_finished():
            return None
        return optuna.Trial(self.optuna, trial_id)

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
    path = _sqlite_path(url)
    if path is not None and not path.exists():
        return []
    try:
        with _shared_storage(url).engine.connect() as connection:
            return sorted(connection.execute(_NAMES).scalars())
    except SQLAlchemyError as error:
        raise StudyAway(f"storage.study: cannot be read: {type(error).__name__}") from error


@lru_cache(maxsize=8)
def _shared_storage(url: str) -> RDBStorage:
    """One for each URL: a service asks for names all the time."""
    return _storage(url)


@contextmanager
def only_driver(name: str, folder: Path) -> Iterator[None]:
    """Hold the right to drive a search on this machine.

    Raises:
        BusyStudy: Another process drives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive_or_busy(folder / f"{name}.lock"):
            yield
    except Busy as error:
        raise BusyStudy(f"search {name!r} is running already, in another process") from error


def _storage(url: str) -> RDBStorage:
    path = _sqlite_path(url)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = (
            {"pool_pre_ping": True} if path is None else {"connect_args": {"timeout": 60}}
        )
        return RDBStorage(url, engine_kwargs=options)
    except Exception as error:
        # SQLAlchemy and its drivers raise classes of their own for what a wrong URL can cause.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place = without_password(url)
        raise StudyAway(f"storage.study: {place!r} cannot be opened: {reason}") from error


def _sqlite_path(url: str) -> Path | None:
    prefix = "sqlite:///"
    return Path(url.removeprefix(prefix)) if url.startswith(prefix) else None


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
