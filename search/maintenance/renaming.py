"""Renaming a search."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from search.maintenance.holding import not_running
from search.storage.database import FUNCTION, SEARCH, study_names
from search.storage.errors import StudyError
from search.storage.removal import rename as rename_study
from search.storage.study import Study, load_all
from search.tracking.removal import rename_experiment
from spaces.errors import UserError
from spaces.file.search_file import NAME_PATTERN, NAME_RULE
from spaces.file.storage import Locations, home


def rename(study: Study, new: str, url: str) -> list[str]:
    """Rename a search, its experiment in MLflow, its reports and its log.

    Searches that start from its trials (``from_searches``) name it by the new name from then on, in
    the study; their files have to as well.

    Args:
        url: SQLAlchemy URL of the study.

    Returns:
        The names of those searches.

    Raises:
        UserError: The name is not allowed.
        StudyError: A study has the new name already, or the search is running.
        MlflowUnavailable: An experiment has the new name, or MLflow cannot be reached; nothing was
            changed.
    """
    if not re.fullmatch(NAME_PATTERN, new):
        raise UserError(f"NEW: {new!r} is not allowed; {NAME_RULE}")
    old = study.name
    with not_running(study):
        if new in (*study_names(url), *study_names(url, FUNCTION)):
            raise StudyError(f"a search named {new!r} exists already; give another name")
        where = Locations.of(study.search.storage)
        rename_experiment(old, new, where)
        rename_study(study, new)
        for before, after in (
            (where.reports / old, where.reports / new),
            (home() / "logs" / f"{old}.log", home() / "logs" / f"{new}.log"),
        ):
            # They are views that can be made again; most searches have no log.
            with suppress(OSError):
                os.rename(before, after)
        return [other.name for other in load_all(url) if _follow(other, old, new)]


def _follow(other: Study, old: str, new: str) -> bool:
    """Let a search that starts from another's trials name it by its new name; returns whether it
    does."""
    recorded = other.attributes[SEARCH]
    names = recorded.get("from_searches", [])
    if old not in names:
        return False
    followed = [new if name == old else name for name in names]
    return other.exchange(SEARCH, recorded, {**recorded, "from_searches": followed})
