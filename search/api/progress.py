"""A progress bar for a search that runs from Python, in a terminal or a notebook."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol

from search.execution.listener import Limits, Listener
from search.pareto import best
from search.storage.base_study import BaseStudy
from search.storage.study import Study
from search.storage.trials import TrialRecord
from search.terminal_safe import printable
from spaces.cost.units import duration

WIDTH = 30
"""Characters of a bar."""

log = logging.getLogger("tlc")


class Logged(Listener):
    """Logs what a person should know to the logger ``tlc``; shows nothing."""

    def info(self, line: str) -> None:
        """Log a step of the run."""
        log.info(line)

    def warn(self, line: str) -> None:
        """Log a warning."""
        log.warning(line)

    @contextmanager
    def following(self, study: BaseStudy[Any], limits: Limits) -> Iterator[None]:
        """Entered while trials run."""
        yield


class Display(Protocol):
    """Where a line is shown in place of the last one."""

    def show(self, line: str) -> None:
        """Show a line."""

    def close(self) -> None:
        """Leave the last line as it is."""


class Bar(Logged):
    """Shows how many trials are done, and the best score.

    Args:
        display: Where to show it.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._leader: TrialRecord[Any] | None = None
        self._failed = 0

    def info(self, line: str) -> None:
        """Show a step of the run until the next one."""
        super().info(line)
        self._display.show(line)

    @contextmanager
    def following(self, study: BaseStudy[Any], limits: Limits) -> Iterator[None]:
        """Show the bar while trials run."""
        with self._showing(study, "trials", limits.trials, study.records()):
            yield

    @contextmanager
    def repeating(self, study: Study, count: int) -> Iterator[None]:
        """Show the bar while repeats run."""
        with self._showing(study, "further seeds", count, []):
            yield

    @contextmanager
    def _showing(
        self, study: BaseStudy[Any], noun: str, total: int, records: list[TrialRecord[Any]]
    ) -> Iterator[None]:
        self._name, self._noun, self._total = study.name, noun, total
        self._criteria = study.criteria
        self._done = self._before = sum(record.is_finished for record in records)
        if records:
            self._leader = best(records, self._criteria, {})
            self._failed = sum(each.is_finished and not each.is_complete for each in records)
        self._started = time.monotonic()
        self._display.show(self._line())
        try:
            yield
        finally:
            self._display.close()

    def changed(self, record: TrialRecord[Any]) -> None:
        """Count a trial that ended."""
        if not record.is_finished:
            return
        self._done += 1
        if record.repeats is None:
            self._failed += not record.is_complete
            known = [] if self._leader is None else [self._leader]
            self._leader = best([*known, record], self._criteria, {})
        self._display.show(self._line())

    def _line(self) -> str:
        fraction = min(1.0, self._done / max(1, self._total))
        bar = ("█" * round(fraction * WIDTH)).ljust(WIDTH, "░")
        parts = [f"{self._name} {bar} {self._done}/{self._total} {self._noun}"]
        if self._leader is not None:
            metric = self._criteria.metric
            parts.append(f"best {metric.name} {metric.text(self._leader.result['score'])}")
        if self._failed:
            parts.append(f"{self._failed} failed")
        finished_now = self._done - self._before
        if finished_now > 0 and self._done < self._total:
            passed = time.monotonic() - self._started
            left = passed / finished_now * (self._total - self._done)
            parts.append(f"left {duration(left)}")
        return ", ".join(parts)


class TerminalLine:
    """A line of standard error that is replaced; elsewhere than in a terminal, many lines."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(console=console, auto_refresh=False)

    def show(self, line: str) -> None:
        """Show a line."""
        from rich.text import Text

        text = Text(printable(line), no_wrap=True, overflow="ellipsis")
        if not self._live.console.is_terminal:
            self._live.console.print(text, soft_wrap=True)
            return
        self._live.start()
        self._live.update(text, refresh=True)

    def close(self) -> None:
        """Leave the last line; the next one is below it."""
        self._live.stop()


class NotebookCell:
    """An output of the notebook's cell that is replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, line: str) -> None:
        """Show a line."""
        from IPython.display import HTML, display  # type: ignore[import-not-found,unused-ignore]

        shown = HTML(f"<pre>{escape(printable(line))}</pre>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def close(self) -> None:
        """Leave the last line; the next one is another output."""
        self._handle = None


@contextmanager
def showing(progress: bool | None) -> Iterator[Logged]:
    """What a run from Python reports to.

    Args:
        progress: Whether to show a bar; by default in a notebook, and where standard error is a
            terminal.
    """
    display: Display | None = None
    if progress is not False and _is_in_notebook():
        display = NotebookCell()
    elif progress or (progress is None and sys.stderr.isatty()):
        display = TerminalLine()
    if display is None:
        yield Logged()
        return
    try:
        yield Bar(display)
    finally:
        display.close()


def _is_in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
