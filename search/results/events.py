"""What happens in a search, from one snapshot of its study to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from search.results.schemas import Event
from search.results.snapshot import Snapshot
from search.storage.states import State
from search.storage.trials import TrialRecord

NumberedEvent = tuple[int | None, Event]
"""An event; that of a finished trial with the count of finished trials so far."""


def follow(read: Callable[[], Snapshot], passed: int = 0) -> Iterator[list[NumberedEvent]]:
    """What is new in a search, each time that the next is asked for; ends when the search does.

    Args:
        read: Gives the state of the search.
        passed: Finished trials to pass over.
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
        goes_on = snapshot.state in ("new", "running")
        if snapshot.state != state:
            state = snapshot.state
            # An end comes after the trials that it ends with.
            news.insert(0 if goes_on else len(news), (None, _event(snapshot)))
        yield news
        if not goes_on:
            return


def _event(snapshot: Snapshot, record: TrialRecord | None = None) -> Event:
    """The start or the end of a trial; without one, the state of the search."""
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
