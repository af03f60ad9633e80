"""Searches that were submitted to a service and do not run yet, as results of queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.results.schemas import Event, Search, Summary
from search.results.training_reuse import TrainingReuse
from search.storage.transactions.submissions import Submission, Submissions
from spaces.file.storage import Storage


class Waiting:
    """The submissions that tell the state of their search, because it has not run since.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self._submissions = Submissions(url)

    def of(self, name: str, attributes: Mapping[str, Any]) -> Submission | None:
        """That of a search.

        Args:
            attributes: Of its study; empty where there is none.
        """
        found = self._submissions.find(name)
        return found if found is not None and _tells(found, attributes) else None

    def all(self, attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, Submission]:
        """All by the name of their search.

        Args:
            attributes: Of the studies, by name.
        """
        found = self._submissions.all()
        return {n: each for n, each in found.items() if _tells(each, attributes.get(n, {}))}


def submitted_summary(submission: Submission) -> Summary:
    """A search without a study, in a line."""
    return Summary(**_summary(submission))


def submitted_search(submission: Submission) -> Search:
    """A search without a study."""
    document = submission.search
    storage = Storage.without_passwords(document.get("storage", {}))
    return Search(
        **_summary(submission),
        search={**document, "storage": storage},
        data={},
        ended=submission.reason,
        shared=TrainingReuse.of(()),
        failures=[],
    )


def submitted_event(submission: Submission) -> Event:
    """The state of a search that was submitted."""
    name = submission.search["name"]
    return Event(kind="state", search=name, state=submission.state, text=submission.reason)


def _tells(submission: Submission, attributes: Mapping[str, Any]) -> bool:
    return not submission.is_withdrawn and not submission.is_over(attributes)


def _summary(submission: Submission) -> dict[str, Any]:
    document = submission.search
    return {
        "name": document["name"],
        "state": submission.state,
        "trials": document["trials"],
        "complete": 0,
        "running": 0,
        "failed": 0,
        "objectives": document["objectives"],
        "metric": document["objectives"][0],
        "frontier": [],
        "hypervolume": 0.0,
        "best_score": None,
    }
