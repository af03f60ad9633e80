"""Deleting and renaming the searches of a storage by name, as ``Client`` does through a service."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from search.maintenance.deletion import delete, planned_deletion
from search.maintenance.renaming import rename
from search.results.changes import PlannedDeletion, Renaming
from search.storage.errors import BusyStudy, NoSuchStudy
from search.storage.function_study import load_any
from search.storage.states import FAILED_TO_START
from search.storage.study import Study
from search.storage.transactions.submissions import Submissions


class Searches:
    """The searches of a storage.

    Its methods raise ``NoSuchStudy`` if there is none of the name, and ``BusyStudy`` if it runs.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._submissions = Submissions(url)

    def planned_deletion(self, name: str) -> PlannedDeletion:
        """What would be deleted with a search."""
        try:
            study = load_any(name, self._url)
        except NoSuchStudy:
            if self._submissions.find(name) is None:
                raise
            # It was submitted to a service, and failed to start.
            return PlannedDeletion(name=name, trials=0, entries=0, size_gb=0.0, needed_by=[])
        return planned_deletion(study, self._url).summary

    def delete(self, name: str) -> PlannedDeletion:
        """Delete a search; after an interruption the same call continues.

        Returns:
            What was deleted.

        Raises:
            MlflowUnavailable: MLflow cannot be reached; nothing was deleted.
        """
        self._refuse_starting(name)
        try:
            study = load_any(name, self._url)
        except NoSuchStudy:
            planned = self.planned_deletion(name)
        else:
            planned = delete(study, self._url).summary
        if (submission := self._submissions.find(name)) is not None:
            self._submissions.remove(name, submission)
        return planned

    def rename(self, name: str, new: str) -> Renaming:
        """Rename a search, with its experiment in MLflow and its reports.

        Raises:
            StudyError: The new name is taken.
            MlflowUnavailable: MLflow cannot be reached; nothing was changed.
        """
        self._refuse_starting(name)
        study = load_any(name, self._url)
        followed = rename(study, new, self._url)
        return Renaming(name=new, has_file=isinstance(study, Study), followed=followed)

    def _refuse_starting(self, name: str) -> None:
        submission = self._submissions.find(name)
        if submission is None or submission.state == FAILED_TO_START:
            return
        attributes: dict[str, Any] = {}
        with suppress(NoSuchStudy):
            attributes = load_any(name, self._url).attributes
        if not submission.is_over(attributes):
            raise BusyStudy(f"search {name!r} is being started; tlc stop {name} takes it back")
