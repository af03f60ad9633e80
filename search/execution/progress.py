"""What a person sees while a search runs: a line for each finished trial, and where it stands."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.formatting import cost_summary
from search.pareto import Scale, best, hypervolume_of
from search.storage.trials import TrialRecord
from search.terminal_safe import printable
from spaces.cost.units import duration
from spaces.file.search_file import SearchFile


class Progress:
    """Prints the search as it goes: live in a terminal, plain lines elsewhere.

    Args:
        search: The search file.
        scale: Scale of the hypervolume.
        records: Trials that were there before.
        console: Where to print.
    """

    def __init__(
        self, search: SearchFile, scale: Scale, records: list[TrialRecord], console: Console
    ) -> None:
        self._search = search
        self._scale = scale
        self._records = {record.number: record for record in records if record.is_finished}
        self._running: dict[int, TrialRecord] = {}
        self._already = len(self._records)
        self._started = time.monotonic()
        self._console = console
        self._live = Live(
            console=console, get_renderable=self._status, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, record: TrialRecord) -> None:
        """Take note that a trial started or ended."""
        if not record.is_finished:
            self._running[record.number] = record
            return
        self._running.pop(record.number, None)
        self._records[record.number] = record
        self._console.print(self._line(record), soft_wrap=True, highlight=False)

    def tell(self, line: str) -> None:
        """Print what else there is to know."""
        self._console.print(line, style="yellow", soft_wrap=True, highlight=False)

    def _line(self, record: TrialRecord) -> Text:
        done = f"{len(self._records):>4}/{self._search.trials}"
        name = f"#{record.number:<3} {record.configuration}"
        line = Text(f"{done}  {name:<52} ")
        if not record.is_complete:
            last_line = "".join(record.message.strip().splitlines()[-1:])
            return line.append(printable(f"{record.state}: {last_line}"), "red")
        result = record.result
        metric = self._search.metric
        line.append(f"{metric.name} {metric.text(result['score'])}  ")
        line.append(f"{cost_summary(result, self._search.cost.name)}  ")
        reused = result["steps"]["reused"] / max(1, result["steps"]["total"])
        line.append(f"reused {reused:4.0%}  ", "dim")
        return line.append(self._standing(), "dim")

    def _standing(self) -> str:
        volume = hypervolume_of(self._records.values(), self._search.criteria, self._scale)
        leader = best(self._records.values(), self._search.criteria, {})
        parts = [f"hypervolume {volume:.3f}"]
        if leader is not None:
            score = self._search.metric.text(leader.result["score"])
            parts.append(f"best {score} (#{leader.number})")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"left {duration(left)}")
        return "  ".join(parts)

    def _status(self) -> Text:
        complete = sum(record.is_complete for record in self._records.values())
        failed = len(self._records) - complete
        steps = [r.result["steps"] for r in self._records.values() if r.is_complete]
        total = sum(step["total"] for step in steps)
        reused = sum(step["reused"] for step in steps)
        running = ", ".join(f"#{r.number} {r.configuration}" for r in self._running.values())
        text = Text(f"{complete} done, {len(self._running)} running, {failed} failed  ")
        text.append(f"{self._standing()}  ", "bold")
        if total:
            text.append(f"steps saved by sharing {reused:,} of {total:,}  ")
        return text.append(f"\nrunning: {running}" if running else "", "dim")

    def _seconds_left(self) -> float | None:
        finished_now = len(self._records) - self._already
        if finished_now == 0:
            return None
        passed = time.monotonic() - self._started
        left = passed / finished_now * (self._search.trials - len(self._records))
        if self._search.hours is not None:
            left = min(left, 3600 * self._search.hours - passed)
        return max(0.0, left)
