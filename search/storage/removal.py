"""Studies that are removed or renamed, and those that no search has used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import optuna

from search.storage.database import translated_errors
from search.storage.errors import StudyError, StudyUnavailable
from search.storage.lease import RUN, confirmed_state
from search.storage.transactions.attributes import rename_study

if TYPE_CHECKING:
    from search.storage.base_study import BaseStudy


def has_trials(study: BaseStudy[Any]) -> bool:
    """Whether a trial was ever started, or is enqueued."""
    with translated_errors(study._storage):
        return bool(study.optuna.get_trials(deepcopy=False))


def is_used(study: BaseStudy[Any]) -> bool:
    """Whether a study has trials, or a process that is about to start some: one that runs, or that
    has created the study and not taken its lease yet."""
    return has_trials(study) or confirmed_state(study) in ("running", "new")


def remove(study: BaseStudy[Any]) -> None:
    """Remove a study with its trials from the database."""
    with translated_errors(study._storage):
        optuna.delete_study(study_name=study.name, storage=study._storage)


def rename(study: BaseStudy[Any], new: str) -> None:
    """Rename a study and the search that it holds, in one transaction.

    Raises:
        StudyError: Another study has the name.
    """
    with translated_errors(study._storage):
        if not rename_study(study._storage.engine, study.optuna._study_id, study.KEY, new):
            raise StudyError(f"a study named {new!r} exists already; give another name")


@contextmanager
def removed_if_unused(study: BaseStudy[Any]) -> Iterator[None]:
    """Remove a study if an error leaves it without a trial, so that its name is free.

    A search that was started in the background keeps it, so that its state and log are found; a
    search file of the same name replaces it.
    """
    try:
        yield
    except BaseException:
        # The error that ended the search is the one to raise.
        with suppress(StudyUnavailable):
            if RUN not in os.environ and not is_used(study):
                remove(study)
        raise
