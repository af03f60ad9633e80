"""The study: the record of a search, of which everything else is a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from objectives.measurement.slowdown import (
    LATENCY,
    BestReferences,
    MeasuredTimes,
    ReferenceTimes,
    corrected,
    restated,
    times_of,
    with_faster,
)
from search.storage.base_study import BaseStudy
from search.storage.budget_facts import (
    SPEEDS,
    RecordedLengths,
    RecordedSpeed,
    RecordedSpeeds,
    to_attribute,
)
from search.storage.database import (
    FUNCTION,
    SEARCH,
    Database,
    open_database,
    study_names,
    translated_errors,
)
from search.storage.errors import BusyStudy, NoSuchStudy, StudyError
from search.storage.optuna_space import configuration_from, distributions
from search.storage.references import REFERENCES, ReferenceRecord, references_of
from search.storage.states import OUTDATED
from search.storage.transactions.results import Restated, restate
from search.storage.trials import (
    CONFIGURATION,
    FAILURE,
    REFERENCE_TIMES,
    REPEATS,
    RESULT,
    TrialRecord,
)
from search.storage.widening import tried, widen
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria
from spaces.file.resources import Resources
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import MeasuredCosts, SearchSpace
from spaces.grid.widening import point_of, widening_faults

DATA = "tlc:data"
TEST = "tlc:test:"


class Study(BaseStudy[Configuration]):
    """The record of one search, on Optuna's storage."""

    KEY = SEARCH
    OTHER_KIND = (FUNCTION, "a function as its objective")

    def __init__(self, study: optuna.Study, storage: Database) -> None:
        super().__init__(study, storage)
        self.search = SearchFile.model_validate(study.user_attrs[SEARCH])
        self.speeds = RecordedSpeeds(lambda: self.attributes)
        self._lengths = RecordedLengths(lambda: self.data)
        self.space = self.make_space()

    @classmethod
    def open(cls, search: SearchFile, url: str) -> Study:
        """Open the study of a search, or create it.

        Where its space is wider than that of the study, the study gets the wider one, in which its
        trials stay (``search.storage.widening``).

        Raises:
            BusyStudy: A study of this name exists for another search file.
        """
        return cls._open(search, url)

    @classmethod
    def open_as_recorded(cls, search: SearchFile, url: str) -> Study:
        """The same without recording the search file where the study has one, which ``open`` would
        replace."""
        return cls._open_as_recorded(search, url)

    def _change_to(self, search: SearchFile) -> Callable[[], None]:
        """What records the file of a search that is resumed, whose space may be wider.

        Raises:
            BusyStudy: It is another search.
        """
        recorded = self.attributes[SEARCH]
        earlier = SearchFile.model_validate(recorded)
        differing = earlier.differences(search)
        another_name = "give this one another name (name: in the file, or --set name=...)"
        if not all(name.startswith("space.") for name in differing):
            raise BusyStudy(
                f"a search named {search.name!r} exists with another {', '.join(differing)}; "
                f"{another_name}"
            )
        if not differing:
            return partial(self.optuna.set_user_attr, SEARCH, search.to_dict())
        before, after = SearchSpace(earlier), SearchSpace(search)
        if faults := widening_faults(before, after, tried(self, before)):
            exists = f"a search named {search.name!r} exists with another space"
            raise BusyStudy("\n".join([f"{exists}; {another_name}, or correct:", *faults]))
        replaced = (SEARCH, recorded, search.to_dict())
        return partial(widen, self, before, after, partial(point_of, after), replaced=replaced)

    @classmethod
    def load(cls, name: str, url: str) -> Study:
        """Open the study of a search that was started before.

        Raises:
            NoSuchStudy: There is none of this name.
            StudyError: Its objective is a function.
        """
        known = study_names(url)
        if name not in known:
            if name in study_names(url, FUNCTION):
                raise StudyError(
                    f"search {name!r} has a function as its objective: tlc knows its metrics and "
                    "no models of it, so there is nothing to export, measure or claim; "
                    f"tlc.open({name!r}) has its results, and tlc show, best and report"
                )
            listed = f"searches: {', '.join(known)}" if known else "no searches exist yet"
            raise NoSuchStudy(f"no search named {name!r}; {listed}")
        storage = open_database(url)
        with translated_errors(storage):
            return cls(optuna.load_study(study_name=name, storage=storage), storage)

    @property
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""
        return self.search.criteria

    def distributions(self) -> dict[str, BaseDistribution]:
        """What a trial may be asked for, by the name of the dimension."""
        return distributions(self.space)

    def configuration_from(self, parameters: dict[str, Any]) -> Configuration:
        """The configuration of a trial's parameters."""
        return configuration_from(self.space, parameters)

    def read_configuration(self, values: dict[str, Any]) -> Configuration:
        """A recorded configuration."""
        return Configuration.from_dict(values)

    def make_space(self, measured: MeasuredCosts | None = None) -> SearchSpace:
        """A search space, with what the study recorded of the costs of training."""
        return SearchSpace(self.search, measured, self.speeds, self._lengths)

    def tell_result(
        self,
        number: int,
        result: dict[str, Any],
        curve: list[list[float]] | None = None,
        *,
        attempt: int = 1,
    ) -> bool:
        """Record the result of a trial, as ``BaseStudy.tell_result``.

        Where its reference model was faster than known, earlier latencies are restated first.
        """
        if times := times_of(result):
            self.learn_references(times)
            result = restated(result, self.best_references())
        return super().tell_result(number, result, curve, attempt=attempt)

    def best_references(self) -> BestReferences:
        """The best times of the reference model that the study knows, by conditions."""
        known = self.attributes.get(REFERENCE_TIMES, {})
        return {conditions: ReferenceTimes(*times) for conditions, times in known.items()}

    def learn_references(self, measured: Sequence[MeasuredTimes]) -> None:
        """Learn how fast the reference model was; where it was faster than known, the latencies of
        all trials under the same conditions are restated in the same transaction."""
        engine, study = self._storage.engine, self.optuna
        known = self.best_references()
        while (best := with_faster(known, measured)) != known:
            old, new = ({key: list(each[key]) for key in each} for each in (known, best))
            change = partial(self._restated, best=best)
            with translated_errors(self._storage):
                restate(engine, study._study_id, (REFERENCE_TIMES, old or None, new), change)
                # Another cache: Optuna's has the trials as they were.
                self.optuna = optuna.load_study(
                    study_name=self.name, storage=self._storage, sampler=study.sampler
                )
            known = self.best_references()

    def _restated(self, outcome: dict[str, Any], best: BestReferences) -> Restated | None:
        """What a trial records by the best times of the reference, from its result or failure."""
        if times_of(result := outcome.get(RESULT, {})):
            now = restated(result, best)
            if now == result:
                return None
            return Restated({RESULT: now}, self._values(now), self.criteria.violations(now))
        failure = outcome.get(FAILURE, {})
        if failure.get("state") == OUTDATED or "latency" not in failure:
            return None
        now_ms = corrected(MeasuredTimes.of(failure["latency"]), best)
        if now_ms > self.criteria.limits[failure["latency"].get("cost", LATENCY)]:
            return None
        message = (
            f"{failure['message']}; {now_ms:.3g} ms by a reference model that was faster later, "
            "so that it may be tried again"
        )
        return Restated({FAILURE: {**failure, "state": OUTDATED, "message": message}})

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

    def use_resources(self, resources: Resources) -> None:
        """Use other resources in this process, as its cluster decides; the file stays as it is."""
        self.search = self.search.model_copy(update={"resources": resources})
        self.space = self.make_space(self.space.measured)

    def set_data(self, facts: dict[str, Any]) -> None:
        """Record the description of the data, with its fingerprint.

        Raises:
            StudyError: Earlier trials ran on other data.
        """
        self.check_data(facts)
        self.optuna.set_user_attr(DATA, facts)

    def check_data(self, facts: dict[str, Any]) -> None:
        """Refuse other data than that of earlier trials.

        Raises:
            StudyError: It is other data.
        """
        recorded = self.data
        if recorded and recorded["fingerprint"] != facts["fingerprint"]:
            raise StudyError(
                f"the data of search {self.search.name!r} has changed since its first trial; "
                "put it back, or give the search another name"
            )

    def record_speeds(self, speeds: Iterable[RecordedSpeed]) -> None:
        """Record the speeds of training, of architectures whose speed is not recorded: it never
        changes."""
        known = self.speeds.all()
        lacking = [each for each in speeds if each.architecture not in known]
        before = self.attributes.get(SPEEDS)
        if lacking:
            self.exchange(SPEEDS, before, [*(before or ()), *to_attribute(lacking)])

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
