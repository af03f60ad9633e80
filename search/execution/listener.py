"""What a run of a search reports to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from search.storage.study import Study
from search.storage.trials import TrialRecord


@dataclass(frozen=True)
class Limits:
    """When a run ends.

    Args:
        trials: Finished trials of the search after which no new one starts.
        hours: Hours after which no new trial starts.
        gpu_hours: GPU-hours of all its trials after which no new one starts.
        stops_early: Whether the sampler may end it before.
    """

    trials: int
    hours: float | None = None
    gpu_hours: float | None = None
    stops_early: bool = False


@dataclass(frozen=True)
class Ending:
    """How a run of a search ended.

    Args:
        ended: Why no more trials were started.
        interrupted: Whether it was stopped before its end.
        was_asked: Whether it was asked to stop, by ``tlc stop``; else Ctrl-C interrupted it.
    """

    ended: str
    interrupted: bool
    was_asked: bool


class Listener:
    """Ignores everything; what shows a run, such as a terminal, overrides it."""

    def info(self, line: str) -> None:
        """A step of the run."""

    def warn(self, line: str) -> None:
        """Something that a person should know, and that does not end the run."""

    @contextmanager
    def following(self, study: Study, limits: Limits) -> Iterator[None]:
        """Entered while trials run."""
        yield

    @contextmanager
    def repeating(self, study: Study, count: int) -> Iterator[None]:
        """Entered while so many repeats with further seeds run."""
        yield

    def must_stop(self) -> None:
        """The search was asked to stop, by ``tlc stop``; called from another thread.

        Trials end at once in any case. What is computed before and after them is not interrupted,
        unless this does it.
        """

    def changed(self, record: TrialRecord) -> None:
        """A trial started or ended."""
