"""Renaming a search."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from search.maintenance.holding import not_running
from search.storage.database import FUNCTION, study_names
from search.storage.errors import StudyError
from search.storage.function_study import FunctionStudy, load_every
from search.storage.removal import rename as rename_study
from search.storage.study import Study
from search.tracking.removal import rename_experiment
from spaces.errors import UserError
from spaces.file.search_file import NAME_PATTERN, NAME_RULE
from spaces.file.storage import Locations, home


def rename(study: Study | FunctionStudy, new: str, url: str) -> list[str]:
    """Rename a search, its experiment in MLflow, its reports, its log and its folders of trials.

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
        if isinstance(study, FunctionStudy):
            study.keep_stages()
        rename_study(study, new)
        folders = home() / "trials"
        for before, after in (
            (where.reports / old, where.reports / new),
            (home() / "logs" / f"{old}.log", home() / "logs" / f"{new}.log"),
            (folders / f"{old}-{study.study_id}", folders / f"{new}-{study.study_id}"),
        ):
            # They can be made again, and most searches have only some of them.
            with suppress(OSError):
                os.rename(before, after)
        return [other.name for other in load_every(url) if _follow(other, old, new)]


def _follow(other: Study | FunctionStudy, old: str, new: str) -> bool:
    """Let a search that starts from another's trials name it by its new name; returns whether it
    does."""
    recorded = other.attributes[other.KEY]
    names = recorded.get("from_searches", [])
    if old not in names:
        return False
    followed = [new if name == old else name for name in names]
    return other.exchange(other.KEY, recorded, {**recorded, "from_searches": followed})
