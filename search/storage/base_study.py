"""The record of a search on Optuna's storage, whatever its trials are.

``Study`` is that of a search file, ``FunctionStudy`` that of a function of the user.
"""

from __future__ import annotations

import math
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.storage.database import (
    Database,
    open_database,
    optuna_study,
    translated_errors,
)
from search.storage.errors import BusyStudy, NoSuchStudy
from search.storage.removal import is_used, remove
from search.storage.transactions.attributes import exchange
from search.storage.transactions.parameters import ParameterChange, change_parameters
from search.storage.transactions.results import finish
from search.storage.trials import (
    ATTEMPT,
    BEGINNING,
    CONFIGURATION,
    FAILURE,
    RESULT,
    Changes,
    Mark,
    Reader,
    Recordable,
    Searched,
    TrialRecord,
    read_records,
)
from spaces.cost.criteria import Criteria

CURVE = "curve"
STUDY_ID = "tlc:study_id"

C = TypeVar("C", bound=Recordable)


class BaseStudy(ABC, Generic[C]):
    """The record of one search: every finished trial exactly once.

    Args:
        study: Optuna's study.
        storage: The database that it is in.
    """

    KEY: ClassVar[str]
    """Attribute of the study that holds the search."""
    OTHER_KIND: ClassVar[tuple[str, str]]
    """The same of searches of the other kind, and the name of that kind."""

    def __init__(self, study: optuna.Study, storage: Database) -> None:
        self.optuna = study
        self._storage = storage
        self._trial_ids: dict[int, int] = {}
        self._reader = Reader(storage.engine, study._study_id, self.read_configuration)

    @classmethod
    def _open(cls, search: Searched, url: str) -> Self:
        """Open the study of a search, or create it, and record the search.

        Raises:
            BusyStudy: A study of this name exists for another search.
        """
        study = cls._open_as_recorded(search, url)
        with translated_errors(study._storage):
            study._change_to(search)()
            return cls(study.optuna, study._storage)

    @classmethod
    def _open_as_recorded(cls, search: Searched, url: str) -> Self:
        """Open the study of a search, or create it; what is recorded is not changed.

        Raises:
            BusyStudy: A study of this name exists for another search.
        """
        storage = open_database(url)
        with translated_errors(storage):
            study = optuna_study(storage, search.name, search.criteria)
            key, kind = cls.OTHER_KIND
            if key in study.user_attrs:
                raise BusyStudy(
                    f"a search named {search.name!r} exists with {kind}; give this one another name"
                )
            # If two processes create this study at once, only one of them sets the search.
            exchange(storage.engine, study._study_id, cls.KEY, None, search.to_dict())
            opened = cls(study, storage)
            try:
                opened._change_to(search)
            except BusyStudy:
                if is_used(opened):
                    raise
                remove(opened)
                return cls._open_as_recorded(search, url)
            study.set_metric_names(list(search.criteria.objectives))
            return opened

    @abstractmethod
    def _change_to(self, search: Any) -> Callable[[], None]:
        """What records a search that is resumed, whose space may be wider.

        Raises:
            BusyStudy: It is another search.
        """

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.optuna.study_name

    @property
    @abstractmethod
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""

    @abstractmethod
    def distributions(self) -> dict[str, BaseDistribution]:
        """What a trial may be asked for, by the name of the dimension."""

    @abstractmethod
    def configuration_from(self, parameters: dict[str, Any]) -> C:
        """The configuration of a trial's parameters."""

    @abstractmethod
    def read_configuration(self, values: dict[str, Any]) -> C:
        """A recorded configuration: the inverse of its ``to_dict``."""

    def ask(self) -> TrialRecord[C]:
        """Create the next trial, as the study's sampler chooses it."""
        trial = self.optuna.ask(self.distributions())
        configuration = self.configuration_from(trial.params)
        trial.set_user_attr(CONFIGURATION, configuration.to_dict())
        self._trial_ids[trial.number] = trial._trial_id
        return self.record(trial.number)

    @property
    def has_enqueued(self) -> bool:
        """Whether enqueued trials wait, which ``ask`` returns before it asks the sampler."""
        return bool(self.waiting())

    def waiting(self) -> list[FrozenTrial]:
        """The enqueued trials that were not asked for yet."""
        return self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def tell_result(
        self,
        number: int,
        result: dict[str, Any],
        curve: list[list[float]] | None = None,
        *,
        attempt: int = 1,
    ) -> bool:
        """Record the result of a trial, in one transaction.

        Args:
            number: The trial's number.
            result: The evaluation's values, by name.
            curve: ``[step, training loss]`` over its training.
            attempt: Number of the attempt that reports.

        Returns:
            False when the trial has finished or a later attempt has begun: a second and a late
            report change nothing.
        """
        measured = (*self.criteria.scores(result), *self.criteria.costs_of(result))
        # Optuna accepts infinity, which would dominate every trial.
        if not all(map(math.isfinite, measured)):
            message = f"the result was {list(measured)}"
            return self.tell_failure(number, "not_finite", message, attempt=attempt)
        attributes = {RESULT: result, CURVE: curve or []}
        values, constraints = self._values(result), self.criteria.violations(result)
        return self._finish(number, attempt, attributes, values, constraints)

    def _values(self, result: dict[str, Any]) -> list[float]:
        """A result as the values of Optuna's objectives."""
        criteria = self.criteria
        measured = (*criteria.scores(result), *criteria.costs_of(result))
        return [float(value) for value in measured[: len(criteria.objectives)]]

    def tell_failure(
        self,
        number: int,
        state: str,
        message: str,
        traceback: str = "",
        *,
        attempt: int = 1,
        latency: Mapping[str, Any] | None = None,
    ) -> bool:
        """Record that a trial failed, in a named state; returns what ``tell_result`` does.

        Args:
            latency: Of a model that was too slow, the ``MeasuredTimes`` by name, and the name of
                the ``cost`` that was measured.
        """
        failure: dict[str, Any] = {
            "state": state,
            "message": message[:2000],
            "traceback": traceback,
        }
        if latency is not None:
            failure["latency"] = dict(latency)
        return self._finish(number, attempt, {FAILURE: failure})

    def take_over_unfinished(self) -> list[TrialRecord[C]]:
        """Take over the trials that an earlier run left running; they keep their numbers.

        Each begins its next attempt, so that late reports of the earlier run are refused. Trials
        whose parameters were not all written are closed as failed.
        """
        left = []
        with translated_errors(self._storage):
            trials = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in trials:
            attempt = trial.user_attrs.get(ATTEMPT, 1)
            is_new = CONFIGURATION not in trial.user_attrs
            if is_new and not self.distributions().keys() <= trial.params.keys():
                self._finish(trial.number, attempt, {})
                continue
            try:
                if is_new:
                    configuration = self.configuration_from(trial.params).to_dict()
                    self._storage.set_trial_user_attr(trial._trial_id, CONFIGURATION, configuration)
                self._storage.set_trial_user_attr(trial._trial_id, ATTEMPT, attempt + 1)
            except UpdateFinishedTrialError:
                # The earlier run has just reported it.
                continue
            left.append(self.record(trial.number))
        return left

    def records(self) -> list[TrialRecord[C]]:
        """All trials that have a configuration, by number, without the repeats."""
        return self.records_and_repeats()[0]

    def repeats(self) -> list[TrialRecord[C]]:
        """Repeats of trials with further seeds of training, by number."""
        return self.records_and_repeats()[1]

    def records_and_repeats(self) -> tuple[list[TrialRecord[C]], list[TrialRecord[C]]]:
        """Both, read at one moment."""
        with translated_errors(self._storage):
            every = self._reader.records()
        return (
            [record for record in every if record.repeats is None],
            [record for record in every if record.repeats is not None],
        )

    def changes(self, since: Mark = BEGINNING) -> Changes[C]:
        """The trials that finished since an earlier call, and those that run; with repeats."""
        with translated_errors(self._storage):
            return self._reader.changes(since)

    @property
    def attributes(self) -> dict[str, Any]:
        """User attributes of the study, read now."""
        with translated_errors(self._storage):
            return self.optuna.user_attrs

    def exchange(self, key: str, old: Any | None, new: Any) -> bool:
        """Change an attribute if it still has its old value, None where there was none; returns
        whether it had."""
        with translated_errors(self._storage):
            return exchange(self._storage.engine, self.optuna._study_id, key, old, new)

    def change_parameters(self, change: ParameterChange) -> bool:
        """Change what trials store of their dimensions, as ``change_parameters`` does."""
        with translated_errors(self._storage):
            return change_parameters(self._storage.engine, self.optuna._study_id, change)

    def record(self, number: int) -> TrialRecord[C]:
        """One trial.

        Raises:
            NoSuchStudy: There is no trial of this number.
        """
        engine, study_id = self._storage.engine, self.optuna._study_id
        try:
            trial = self._trial_id(number)
            found = read_records(engine, study_id, self.read_configuration, trial=trial)
        except KeyError:
            found = []
        if not found:
            raise NoSuchStudy(f"search {self.name!r} has no trial {number}")
        return found[0]

    def curve(self, number: int) -> list[list[float]]:
        """``[step, training loss]`` over the training of a trial."""
        with translated_errors(self._storage):
            trial = self._storage.get_trial(self._trial_id(number))
        points: list[list[float]] = trial.user_attrs.get(CURVE, [])
        return points

    @property
    def study_id(self) -> str:
        """A random id: two studies on one server may share a name."""
        known: str | None = self.optuna.user_attrs.get(STUDY_ID)
        if known is None:
            known = uuid.uuid4().hex[:12]
            self.optuna.set_user_attr(STUDY_ID, known)
        return known

    def _finish(
        self,
        number: int,
        attempt: int,
        attributes: dict[str, Any],
        values: list[float] | None = None,
        constraints: dict[str, float] | None = None,
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
                constraints=constraints or {},
            )

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            self._trial_ids[number] = self._storage.get_trial_id_from_study_id_trial_number(
                self.optuna._study_id, number
            )
        return self._trial_ids[number]
