"""Trials of a study, read from Optuna's tables (schema version 12).

Optuna's ``get_trials`` takes 7.6 s for 10,000 trials, because it makes an object of every parameter
and attribute; queries need a few attributes. A test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, Generic, Protocol

import optuna
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Engine, Table, or_, select
from typing_extensions import TypeVar

from search.storage.database_retry import retryable
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria

CONFIGURATION = "configuration"
RESULT = "result"
FAILURE = "failure"
ATTEMPT = "attempt"
"""Number of the current attempt at a trial; 1 where it is missing."""
FINISH = "finish"
"""Position of a trial in the order in which those of its study finished, from 1."""
REFERENCE_TIMES = "tlc:reference_times"
"""Attribute of the study: the best times of the reference model that latencies are corrected by.
Finished trials change with it, and only with it."""
REPEATS = "repeats"
"""Number of the trial that a trial repeats with a further seed of training."""
OCCUPIED = "occupied"
"""The GPUs that a trial occupied, where it had any."""

C = TypeVar("C", default=Configuration)
"""What a trial evaluates."""

_READ = (CONFIGURATION, RESULT, FAILURE, ATTEMPT, FINISH, REPEATS, OCCUPIED)
_TRIALS: Table = models.TrialModel.__table__
_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
_STUDY: Table = models.StudyUserAttributeModel.__table__
_STATES = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}


@dataclass(frozen=True, slots=True)
class Occupied:
    """The GPUs that a trial occupied.

    Args:
        gpus: Those of all its workers together, in its last attempt.
        gpu_seconds: GPUs times seconds, of all attempts of the run that finished it.
    """

    gpus: float = 0.0
    gpu_seconds: float = 0.0


class Recordable(Protocol):
    """What a study records of the point that a trial evaluates."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""


class Searched(Protocol):
    """What a study asks of a search that is run."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def criteria(self) -> Criteria:
        """The criteria by which its trials are compared."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""


@dataclass(frozen=True)
class TrialRecord(Generic[C]):
    """One trial of a study.

    Args:
        number: Its number in the study, from 0.
        state: ``running``, ``complete``, or the named state of its failure.
        configuration: What was evaluated.
        result: The evaluation's values; empty unless complete.
        message: Why it failed; empty otherwise.
        started: When it was asked for, in UTC.
        finished: When its result was recorded, in UTC, by the clock of the process that did.
        attempt: Number of its current attempt; taking it over begins the next.
        order: Position in the order in which trials finished; 0 before.
        traceback: Where an error inside tlc or a library arose; empty otherwise.
        repeats: Number of the trial that it repeats with a further seed of training; None for the
            trials of the search itself.
        occupied: The GPUs that it occupied, once it has finished.
    """

    number: int
    state: str
    configuration: C
    result: dict[str, Any]
    message: str
    started: datetime | None
    finished: datetime | None
    attempt: int = 1
    order: int = 0
    traceback: str = ""
    repeats: int | None = None
    occupied: Occupied = Occupied()

    @property
    def is_complete(self) -> bool:
        """Whether it has a result."""
        return self.state == "complete"

    @property
    def is_finished(self) -> bool:
        """Whether it is complete or failed."""
        return self.state != "running"


def record_occupied(study: optuna.Study, number: int, occupied: Occupied) -> None:
    """Record the GPUs that a trial occupied, before it finishes."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    storage.set_trial_user_attr(trial_id, OCCUPIED, asdict(occupied))


def gpu_hours(records: Iterable[TrialRecord[Any]]) -> float:
    """GPU-hours of finished trials, failed ones too."""
    return sum(record.occupied.gpu_seconds for record in records) / 3600.0


@dataclass(frozen=True)
class Mark:
    """Up to where the finished trials of a study were read.

    Args:
        restated: Number of the reading of all trials, which begins again when latencies are
            restated.
        ended: Number of finished trials.
    """

    restated: int
    ended: int


BEGINNING = Mark(0, 0)


@dataclass(frozen=True)
class Changes(Generic[C]):
    """What changed in a study since a ``Mark``.

    Args:
        finished: Trials that finished, in that order; with repeats.
        running: All that run now, by number; with repeats.
        is_whole: Whether ``finished`` has all that ever did, because some were restated.
        mark: For the next call.
    """

    finished: list[TrialRecord[C]]
    running: list[TrialRecord[C]]
    is_whole: bool
    mark: Mark


class Reader(Generic[C]):
    """Reads the trials of a study, and each finished one again only when latencies are restated.

    Args:
        parse: Makes a configuration of its recorded values.
    """

    def __init__(self, engine: Engine, study_id: int, parse: Callable[[dict[str, Any]], C]) -> None:
        self._read = partial(read_records, engine, study_id, parse)
        self._read_times = partial(_reference_times, engine, study_id)
        self._times: str | None = None
        self._restated = 0
        self._finished: dict[int, TrialRecord[C]] = {}
        self._ended: list[TrialRecord[C]] = []
        self._open: set[int] = set()
        self._next = 0
        self._lock = Lock()

    def records(self) -> list[TrialRecord[C]]:
        """All trials that have a configuration, by number."""
        with self._lock:
            running = self._read_changes()
            records = self._finished | {record.number: record for record in running}
            return [records[number] for number in sorted(records)]

    def changes(self, since: Mark = BEGINNING) -> Changes[C]:
        """The trials that finished since an earlier call, and those that run.

        Args:
            since: ``mark`` of that call.
        """
        with self._lock:
            running = self._read_changes()
            is_whole = since.restated != self._restated
            ended = self._ended[0 if is_whole else since.ended :]
            return Changes(ended, running, is_whole, Mark(self._restated, len(self._ended)))

    def _read_changes(self) -> list[TrialRecord[C]]:
        """Read what finished since the last call; returns the trials that run."""
        times = self._read_times()
        while True:
            if times != self._times:
                self._times = times
                self._restated += 1
                self._finished, self._ended, self._open, self._next = {}, [], set(), 0
            running = self._read_new()
            times = self._read_times()
            if times == self._times:
                return running

    def _read_new(self) -> list[TrialRecord[C]]:
        read = self._read(first=self._next, also=sorted(self._open))
        following = max((record.number for record in read), default=-1) + 1
        # A trial without a configuration is not read, and may get one.
        self._open |= set(range(self._next, following))
        self._next = max(self._next, following)
        ended = [record for record in read if record.is_finished]
        self._ended += sorted(ended, key=lambda record: (record.order, record.number))
        self._finished |= {record.number: record for record in ended}
        self._open -= {record.number for record in ended}
        return [record for record in read if not record.is_finished]


@retryable
def _reference_times(engine: Engine, study_id: int) -> str | None:
    query = select(_STUDY.c.value_json).where(
        _STUDY.c.study_id == study_id, _STUDY.c.key == REFERENCE_TIMES
    )
    with engine.connect() as connection:
        found: str | None = connection.execute(query).scalar()
        return found


@retryable
def read_records(
    engine: Engine,
    study_id: int,
    parse: Callable[[dict[str, Any]], C],
    *,
    trial: int | None = None,
    first: int = 0,
    also: Sequence[int] = (),
) -> list[TrialRecord[C]]:
    """Trials of a study that have a configuration, by number.

    Args:
        parse: Makes a configuration of its recorded values.
        trial: Optuna's id of the only trial to read.
        first: The first trial to read.
        also: Earlier trials to read.
    """
    query = (
        select(
            _TRIALS.c.number,
            _TRIALS.c.state,
            _TRIALS.c.datetime_start,
            _TRIALS.c.datetime_complete,
            _ATTRIBUTES.c.key,
            _ATTRIBUTES.c.value_json,
        )
        .join_from(_TRIALS, _ATTRIBUTES, _TRIALS.c.trial_id == _ATTRIBUTES.c.trial_id)
        .where(_ATTRIBUTES.c.key.in_(_READ))
        .order_by(_TRIALS.c.number)
    )
    if trial is not None:
        # Through the primary key: numbers have no index.
        query = query.where(_TRIALS.c.trial_id == trial)
    else:
        query = query.where(_TRIALS.c.study_id == study_id)
        query = query.where(or_(_TRIALS.c.number >= first, _TRIALS.c.number.in_(also)))
    with engine.connect() as connection:
        return list(_records(connection.execute(query), parse))


def _records(rows: Iterable[Any], parse: Callable[[dict[str, Any]], C]) -> Iterable[TrialRecord[C]]:
    trials: dict[int, tuple[TrialState, datetime | None, datetime | None, dict[str, Any]]] = {}
    for number, state, started, finished, key, value in rows:
        entry = trials.setdefault(number, (state, started, finished, {}))
        entry[3][key] = json.loads(value)
    for number, (state, started, finished, attributes) in trials.items():
        if CONFIGURATION not in attributes:
            continue
        failure = attributes.get(FAILURE, {})
        name = _STATES.get(state, "running")
        yield TrialRecord(
            number=number,
            state=failure.get("state", name) if name == "failed" else name,
            configuration=parse(attributes[CONFIGURATION]),
            result=attributes.get(RESULT, {}) if name == "complete" else {},
            message=failure.get("message", ""),
            started=_in_utc(started),
            finished=_in_utc(finished),
            attempt=attributes.get(ATTEMPT, 1),
            order=attributes.get(FINISH, 0),
            traceback=failure.get("traceback", ""),
            repeats=attributes.get(REPEATS),
            occupied=Occupied(**attributes.get(OCCUPIED, {})),
        )


def _in_utc(moment: datetime | None) -> datetime | None:
    """Optuna stores UTC without a time zone."""
    return None if moment is None else moment.replace(tzinfo=UTC)
