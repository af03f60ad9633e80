"""A search that runs in a terminal: its output, and the signals that end it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.execution.listener import Limits, Listener
from search.formatting import cost_summary
from search.hypervolume import Scale, hypervolume_of
from search.pareto import best, frontier
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.terminal_safe import printable
from spaces.cost.criteria import Criteria
from spaces.cost.units import duration


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM, with which a cluster ends a job, stop a search: finished trials are
    kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that puts a process in the background lets it ignore SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Reached:
    """What a search has reached, kept up with each trial that ends.

    Args:
        members: The frontier.
        leader: The best trial; None before there is one.
        scores: Of the complete trials, by number.
        failed: Number of failed trials.
        steps: Of training, of all complete trials.
        reused_steps: Of these, those that were shared.
    """

    members: list[TrialRecord] = field(default_factory=list)
    leader: TrialRecord | None = None
    scores: dict[int, float] = field(default_factory=dict)
    failed: int = 0
    steps: int = 0
    reused_steps: int = 0

    @classmethod
    def of(cls, records: Iterable[TrialRecord], criteria: Criteria) -> Reached:
        """What some trials have reached."""
        finished = [record for record in records if record.is_finished]
        reached = cls(frontier(finished, criteria), best(finished, criteria, {}))
        for record in finished:
            reached._count(record)
        return reached

    def add(self, record: TrialRecord, criteria: Criteria) -> None:
        """Merge a trial that ended."""
        self.members = frontier([*self.members, record], criteria)
        known = [] if self.leader is None else [self.leader]
        self.leader = best([*known, record], criteria, {})
        self._count(record)

    def _count(self, record: TrialRecord) -> None:
        if not record.is_complete:
            self.failed += 1
            return
        self.scores[record.number] = record.result["score"]
        self.steps += record.result["steps"]["total"]
        self.reused_steps += record.result["steps"]["reused"]


class Progress(Listener):
    """Prints a run: live in a terminal, plain lines elsewhere.

    Args:
        console: Where to print.
        said: Warnings that stand there already, which are not repeated.
    """

    def __init__(self, console: Console, said: Collection[str] = ()) -> None:
        self._console = console
        self._said = said
        self._running: dict[int, TrialRecord] = {}

    def info(self, line: str) -> None:
        """Print a step of the run."""
        self._console.print(line, style="dim")

    def warn(self, line: str) -> None:
        """Print a warning."""
        if line in self._said:
            return
        self._console.print(line, style="yellow", soft_wrap=True)

    @contextmanager
    def following(self, study: Study, limits: Limits) -> Iterator[None]:
        """Show the status while trials run."""
        done = sum(record.is_finished for record in study.records())
        with self._showing(study, total=limits.trials, done=done, hours=limits.hours):
            yield

    @contextmanager
    def repeating(self, study: Study, count: int) -> Iterator[None]:
        """Show the status while repeats run."""
        with self._showing(study, total=count, done=0, hours=None):
            yield

    @contextmanager
    def _showing(
        self, study: Study, *, total: int, done: int, hours: float | None
    ) -> Iterator[None]:
        self._criteria = study.search.criteria
        self._scale = Scale.of(study.space)
        self._reached = Reached.of(study.records(), self._criteria)
        self._total, self._done, self._before, self._hours = total, done, done, hours
        self._started = time.monotonic()
        if not self._console.is_terminal:
            yield
            return
        with Live(
            console=self._console, get_renderable=self._status, refresh_per_second=2, transient=True
        ):
            yield

    def must_stop(self) -> None:
        """End whatever the main thread does, as Ctrl-C."""
        os.kill(os.getpid(), signal.SIGINT)

    def changed(self, record: TrialRecord) -> None:
        """Print a line for a trial that ended."""
        if not record.is_finished:
            self._running[record.number] = record
            return
        self._running.pop(record.number, None)
        self._done += 1
        if record.repeats is None:
            self._reached.add(record, self._criteria)
        self._console.print(self._line(record), soft_wrap=True)

    def _line(self, record: TrialRecord) -> Text:
        line = Text(f"{self._done:>4}/{self._total}  {_name(record):<52} ")
        if not record.is_complete:
            last_line = "".join(record.message.strip().splitlines()[-1:])
            return line.append(printable(f"{record.state}: {last_line}"), "red")
        result, metric = record.result, self._criteria.metric
        line.append(f"{metric.name} {metric.text(result['score'])}  ")
        line.append(f"{cost_summary(result, *(cost.name for cost in self._criteria.axes))}  ")
        reused = result["steps"]["reused"] / max(1, result["steps"]["total"])
        line.append(f"reused {reused:4.0%}  ", "dim")
        if record.repeats is not None:
            selected = self._reached.scores[record.repeats]
            return line.append(f"#{record.repeats} had {metric.text(selected)}", "dim")
        return line.append(self._summary(), "dim")

    def _summary(self) -> str:
        members, leader = self._reached.members, self._reached.leader
        parts = [f"hypervolume {hypervolume_of(members, self._criteria, self._scale):.3f}"]
        if leader is not None:
            score = self._criteria.metric.text(leader.result["score"])
            parts.append(f"best {score} (#{leader.number})")
        if (left := self._seconds_left()) is not None:
            parts.append(f"left {duration(left)}")
        return "  ".join(parts)

    def _status(self) -> Text:
        total, reused = self._reached.steps, self._reached.reused_steps
        failed = self._reached.failed
        running = ", ".join(map(_name, self._running.values()))
        text = Text(
            f"{self._done}/{self._total} done, {len(self._running)} running, {failed} failed  "
        )
        text.append(f"{self._summary()}  ", "bold")
        if total:
            text.append(f"steps saved by sharing {reused:,} of {total:,}  ")
        return text.append(f"\nrunning: {running}" if running else "", "dim")

    def _seconds_left(self) -> float | None:
        finished_now = self._done - self._before
        if finished_now == 0:
            return None
        passed = time.monotonic() - self._started
        left = passed / finished_now * (self._total - self._done)
        if self._hours is not None:
            left = min(left, 3600 * self._hours - passed)
        return max(0.0, left)


def _name(record: TrialRecord) -> str:
    seed = "" if record.repeats is None else f" seed {record.configuration.seed}"
    return f"#{record.number:<3} {record.configuration}{seed}"
