"""The study of a search whose objective is a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from search.storage.base_study import BaseStudy
from search.storage.database import (
    FUNCTION,
    SEARCH,
    Database,
    open_database,
    study_names,
    translated_errors,
)
from search.storage.errors import BusyStudy, NoSuchStudy
from search.storage.optuna_space import distributions, point_from
from search.storage.study import Study, load_all
from search.storage.widening import tried, widen
from spaces.cost.criteria import Criteria
from spaces.functions.points import FunctionSpace, Values
from spaces.functions.search import FunctionSearch
from spaces.grid.widening import changed_names, left_out

FIRST_NAME = "first_name"
"""Attribute of a study that was renamed: the name before."""


class FunctionStudy(BaseStudy[Values]):
    """The record of one search with a function.

    The function itself is not recorded, and neither are those of costs and stages: each run brings
    its own.
    """

    KEY = FUNCTION
    OTHER_KIND = (SEARCH, "a task of tlc")

    def __init__(self, study: optuna.Study, storage: Database) -> None:
        super().__init__(study, storage)
        self.search = FunctionSearch.model_validate(study.user_attrs[FUNCTION])
        self.space = FunctionSpace(self.search)

    @classmethod
    def open(cls, space: FunctionSpace, url: str) -> FunctionStudy:
        """Open the study of a search, or create it; with a wider space, its trials stay.

        Args:
            space: Its points, with what is known of them.

        Raises:
            BusyStudy: A study of this name exists for another search.
        """
        opened = cls._open(space.search, url)
        opened.space = space
        return opened

    @classmethod
    def open_as_recorded(cls, search: FunctionSearch, url: str) -> FunctionStudy:
        """The same without recording the search where the study has one, which ``open`` would
        replace."""
        return cls._open_as_recorded(search, url)

    def _change_to(self, search: FunctionSearch) -> Callable[[], None]:
        """What records a search that is resumed, whose space may be wider.

        Raises:
            BusyStudy: It is another search.
        """
        recorded = self.attributes[FUNCTION]
        earlier = FunctionSearch.model_validate(recorded)
        differing = earlier.differences(search)
        before, after = FunctionSpace(earlier), FunctionSpace(search)
        if not differing:
            return partial(self.optuna.set_user_attr, FUNCTION, search.to_dict())
        exists = f"a search named {search.name!r} exists with another"
        if differing != ["space"]:
            raise BusyStudy(f"{exists} {', '.join(differing)}; give this one another name")
        gone, added = changed_names(before, after)
        faults = [
            *left_out(before, after, tried(self, before)),
            *(f"space.{name}: is left out, and its trials have it; keep it" for name in gone),
            *(f"space.{name}: is new, and its trials have none; leave it out" for name in added),
        ]
        if faults:
            first = f"{exists} space; give this one another name, or correct:"
            raise BusyStudy("\n".join([first, *faults]))
        replaced = (FUNCTION, recorded, search.to_dict())
        return partial(widen, self, before, after, lambda values: None, replaced=replaced)

    @classmethod
    def load(cls, name: str, url: str) -> FunctionStudy:
        """Open the study of a search that was started before.

        Raises:
            NoSuchStudy: There is none of this name.
        """
        storage = open_database(url)
        if name not in study_names(url, FUNCTION):
            raise NoSuchStudy(f"no search named {name!r} has a function as its objective")
        with translated_errors(storage):
            return cls(optuna.load_study(study_name=name, storage=storage), storage)

    @property
    def stage_scope(self) -> tuple[str, str]:
        """What the keys of stages and checkpoints of its trials belong to: the name that the search
        began with, and the version of the function."""
        return self.attributes.get(FIRST_NAME, self.name), self.search.version

    def keep_stages(self) -> None:
        """Let stages and checkpoints stay those of its trials when the search is renamed."""
        if FIRST_NAME not in self.attributes:
            self.optuna.set_user_attr(FIRST_NAME, self.name)

    @property
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""
        return self.search.criteria

    def distributions(self) -> dict[str, BaseDistribution]:
        """What a trial may be asked for, by the name of the dimension."""
        return distributions(self.space)

    def configuration_from(self, parameters: dict[str, Any]) -> Values:
        """The values of a trial's parameters."""
        return self.space.configuration(point_from(self.space, parameters))

    def read_configuration(self, values: dict[str, Any]) -> Values:
        """Recorded values."""
        return Values.from_dict(values)


def load_any(name: str, url: str) -> Study | FunctionStudy:
    """Open the study of a search of either kind.

    Raises:
        NoSuchStudy: There is none of this name.
    """
    if has_function(name, url):
        return FunctionStudy.load(name, url)
    return Study.load(name, url)


def load_every(url: str) -> list[Study | FunctionStudy]:
    """Every search of a storage, of either kind."""
    return [*load_all(url), *load_functions(url)]


def load_functions(url: str) -> list[FunctionStudy]:
    """Every search of a storage whose objective is a function, by name."""
    return [FunctionStudy.load(name, url) for name in study_names(url, FUNCTION)]


def has_function(name: str, url: str) -> bool:
    """Whether a search exists whose objective is a function."""
    return name in study_names(url, FUNCTION)
