"""The events of a search, as the differences between snapshots of its study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from search.results.schemas import Event
from search.storage.states import State
from search.storage.trials import TrialRecord

if TYPE_CHECKING:
    from search.results.snapshot import Snapshot

NumberedEvent = tuple[int | None, Event]
"""An event; for a finished trial, with the number of finished trials up to it."""


def follow(read: Callable[[], Snapshot], passed: int = 0) -> Iterator[list[NumberedEvent]]:
    """New events of a search, at each iteration; ends with the search.

    Args:
        read: Returns the current snapshot.
        passed: Finished trials to skip.
    """
    state: State | None = None
    running: set[int] = set()
    while True:
        snapshot = read()
        news: list[NumberedEvent] = []
        for record in snapshot.records:
            if not record.is_finished and record.number not in running:
                running.add(record.number)
                news.append((None, _event(snapshot, record)))
        finished = snapshot.in_order
        for count, record in enumerate(finished[passed:], start=passed + 1):
            news.append((count, _event(snapshot, record)))
        passed = max(passed, len(finished))
        is_active = snapshot.state in ("new", "running")
        if snapshot.state != state:
            state = snapshot.state
            # The end of a search comes after its last trials.
            news.insert(0 if is_active else len(news), (None, _event(snapshot)))
        yield news
        if not is_active:
            return


def _event(snapshot: Snapshot, record: TrialRecord | None = None) -> Event:
    """The start or the end of a trial; without a trial, the state of the search."""
    return Event(
        kind="state" if record is None else "trial",
        search=snapshot.search.name,
        state=snapshot.state if record is None else record.state,
        trial=None if record is None else record.number,
        text="" if record is None else str(record.configuration),
        score=None if record is None else record.result.get("score"),
        complete=sum(each.is_complete for each in snapshot.records),
        hypervolume=snapshot.hypervolume,
    )
