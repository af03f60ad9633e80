"""The study: the record of a search, of which everything else is a view."""

from __future__ import annotations

import logging
import math
import uuid
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.process_state import set_level
from search.storage.budget_facts import (
    SPEEDS,
    RecordedLengths,
    RecordedSpeed,
    RecordedSpeeds,
    to_attribute,
)
from search.storage.database import SEARCH, Database, open_database, study_names, translated_errors
from search.storage.errors import BusyStudy, NoSuchStudy, StudyError
from search.storage.optuna_space import configuration_from, distributions
from search.storage.references import REFERENCES, ReferenceRecord, references_of
from search.storage.transactions import exchange, finish
from search.storage.trials import (
    ATTEMPT,
    CONFIGURATION,
    FAILURE,
    REPEATS,
    RESULT,
    Reader,
    TrialRecord,
    read_records,
)
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import LatencyOf, SearchSpace

DATA = "tlc:data"
CURVE = "curve"
TEST = "tlc:test:"
STUDY_ID = "tlc:study_id"


class Study:
    """The record of one search, on Optuna's storage."""

    def __init__(self, study: optuna.Study, storage: Database) -> None:
        self.optuna = study
        self._storage = storage
        self.search = SearchFile.model_validate(study.user_attrs[SEARCH])
        self.speeds = RecordedSpeeds(lambda: self.attributes)
        self._lengths = RecordedLengths(lambda: self.data)
        self.space = self.make_space()
        self._reader = Reader(storage.engine, study._study_id)

    @classmethod
    def open(cls, search: SearchFile, url: str) -> Study:
        """Open the study of a search, or create it.

        Raises:
            BusyStudy: A study of this name exists for another search file.
        """
        _quiet_optuna()
        # Of the score, and of the cost unless it is fixed.
        directions = [StudyDirection.MINIMIZE] * (1 if search.is_at_fixed_cost else 2)
        if search.metric.is_maximised:
            directions[0] = StudyDirection.MAXIMIZE
        storage = open_database(url)
        with translated_errors(storage):
            study = optuna.create_study(
                storage=storage, study_name=search.name, directions=directions, load_if_exists=True
            )
            # If two processes create this study at once, only one of them sets the file.
            if not exchange(storage.engine, study._study_id, SEARCH, None, search.to_dict()):
                recorded = SearchFile.model_validate(study.user_attrs[SEARCH])
                if differing := recorded.differences(search):
                    raise BusyStudy(
                        f"a search named {search.name!r} exists with another "
                        f"{', '.join(differing)}; give this one another name (name: in the file, "
                        "or --set name=...)"
                    )
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
        known = study_names(url)
        if name not in known:
            listed = f"searches: {', '.join(known)}" if known else "no searches exist yet"
            raise NoSuchStudy(f"no search named {name!r}; {listed}")
        storage = open_database(url)
        with translated_errors(storage):
            return cls(optuna.load_study(study_name=name, storage=storage), storage)

    def make_space(self, latency_of: LatencyOf | None = None) -> SearchSpace:
        """A search space, with what the study recorded of the costs of training."""
        return SearchSpace(self.search, latency_of, self.speeds, self._lengths)

    def ask(self) -> TrialRecord:
        """Create the next trial, as the study's sampler chooses it."""
        trial = self.optuna.ask(distributions(self.space))
        configuration = configuration_from(self.space, trial.params)
        trial.set_user_attr(CONFIGURATION, configuration.to_dict())
        return self.record(trial.number)

    @property
    def has_enqueued(self) -> bool:
        """Whether enqueued trials wait, which ``ask`` returns before it asks the sampler."""
        return bool(self.optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

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
        measured = (result["score"], result[self.search.cost.name])
        values = [float(value) for value in measured[: len(self.optuna.directions)]]
        # Optuna accepts infinity, which would dominate every trial.
        if not all(map(math.isfinite, measured)):
            message = f"the result was {list(measured)}"
            return self.tell_failure(number, "not_finite", message, attempt=attempt)
        attributes = {RESULT: result, CURVE: curve or []}
        return self._finish(
            number, attempt, attributes, values, self.search.criteria.violations(result)
        )

    def tell_failure(
        self, number: int, state: str, message: str, traceback: str = "", *, attempt: int = 1
    ) -> bool:
        """Record that a trial failed, in a named state; returns what ``tell_result`` does."""
        failure = {"state": state, "message": message[:2000], "traceback": traceback}
        return self._finish(number, attempt, {FAILURE: failure})

    def take_over_unfinished(self) -> list[TrialRecord]:
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
            if is_new and not distributions(self.space).keys() <= trial.params.keys():
                self._finish(trial.number, attempt, {})
                continue
            try:
                if is_new:
                    configuration = configuration_from(self.space, trial.params).to_dict()
                    self._storage.set_trial_user_attr(trial._trial_id, CONFIGURATION, configuration)
                self._storage.set_trial_user_attr(trial._trial_id, ATTEMPT, attempt + 1)
            except UpdateFinishedTrialError:
                # The earlier run has just reported it.
                continue
            left.append(self.record(trial.number))
        return left

    def records(self) -> list[TrialRecord]:
        """All trials that have a configuration, by number, without the repeats."""
        return self.records_and_repeats()[0]

    def repeats(self) -> list[TrialRecord]:
        """Repeats of trials with further seeds of training, by number."""
        return self.records_and_repeats()[1]

    def records_and_repeats(self) -> tuple[list[TrialRecord], list[TrialRecord]]:
        """Both, read at one moment."""
        with translated_errors(self._storage):
            every = self._reader.records()
        return (
            [record for record in every if record.repeats is None],
            [record for record in every if record.repeats is not None],
        )

    def repeat(self, number: int, seed: int) -> TrialRecord:
        """Create a trial that repeats another with a further seed of training.

        No sampler is asked, and none sees it: it is no further configuration of the space.
        """
        configuration = self.record(number).configuration.with_seed(seed)
        with translated_errors(self._storage):
            trial = self._storage.get_trial(self._trial_id(number))
            repeat = create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={CONFIGURATION: configuration.to_dict(), REPEATS: number},
            )
            created = self._storage.create_new_trial(self.optuna._study_id, repeat)
            return self.record(self._storage.get_trial(created).number)

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
        """Record the description of the data, with its fingerprint.

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

    def record_speeds(self, speeds: Iterable[RecordedSpeed]) -> None:
        """Record the speeds of training, unless they are recorded: they never change."""
        self.exchange(SPEEDS, None, to_attribute(speeds))

    @property
    def data(self) -> dict[str, Any]:
        """Description of the data; empty before the first run."""
        facts: dict[str, Any] = self.optuna.user_attrs.get(DATA, {})
        return facts

    def tests(self) -> dict[int, dict[str, Any]]:
        """Scores on the test split, by trial number."""
        return tests_of(self.optuna.user_attrs)

    def set_test(self, number: int, values: dict[str, Any]) -> None:
        """Record the score of a trial on the test split."""
        self.optuna.set_user_attr(f"{TEST}{number}", values)

    @property
    def has_references(self) -> bool:
        """Whether the references of its task were measured."""
        return REFERENCES in self.attributes

    def references(self) -> list[ReferenceRecord]:
        """Baselines beside its trials; none before they are measured."""
        return references_of(self.attributes)

    def set_references(self, measured: list[dict[str, Any]]) -> None:
        """Record the baselines, as ``Objective.references`` returns them."""
        self.optuna.set_user_attr(REFERENCES, measured)

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
        return self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)


def _quiet_optuna() -> None:
    """Log its warnings only, and no warning that something that is used here may change."""
    set_level(logging.WARNING, "optuna")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def tests_of(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Scores on the test split, by trial number, from a study's attributes."""
    return {
        int(key.removeprefix(TEST)): value
        for key, value in attributes.items()
        if key.startswith(TEST)
    }


def load_all(url: str) -> list[Study]:
    """Every search of a storage, by name."""
    return [Study.load(name, url) for name in study_names(url)]
