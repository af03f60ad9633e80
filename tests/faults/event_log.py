"""The event log: an append-only file that is independent of tlc's own record.

Its lines are in the order of events over all processes:

- ``<path> <step> <pid>``: an optimiser step was done;
- ``saved <address>``: a checkpoint or a model was published in the store;
- ``committed <JSON>``: the commit of a trial to the study returned;
- ``at <pid> <seconds>``: the time of a step, if a test requests it;
- ``did <fault> <pid>``: a fault was injected;
- ``damaged <path> <step>``: the test damaged checkpoints of a path after a step.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """An optimiser step.

    Args:
        path: Key of the training path.
        number: The step on that path.
        pid: The process of the step.
    """

    path: str
    number: int
    pid: int


class EventLog:
    """Reads the event log.

    Args:
        path: The file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[list[str]] = []
        self._steps: list[Step] = []
        self._read = 0

    def lines(self) -> list[list[str]]:
        """All complete lines, split at the first two spaces."""
        self._read_on()
        return self._lines

    def steps(self) -> list[Step]:
        """All optimiser steps, in their order."""
        self._read_on()
        return self._steps

    def _read_on(self) -> None:
        """Read appended lines only: a waiting test reads fifty times a second."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        if not whole:
            return
        self._read += len(whole) + 1
        lines = [line.split(" ", 2) for line in whole.decode().split("\n")]
        self._lines += lines
        self._steps += [step for step in map(_step, lines) if step is not None]

    def committed(self) -> list[dict[str, Any]]:
        """Committed trials in order, each with number, state and attributes."""
        return [json.loads(" ".join(line[1:])) for line in self.lines() if line[0] == "committed"]

    def times(self) -> list[tuple[int, float]]:
        """Process and monotonic seconds of each step whose time was logged."""
        return [(int(line[1]), float(line[2])) for line in self.lines() if line[0] == "at"]

    def did(self, fault: str) -> list[int]:
        """Processes into which a fault was injected."""
        return [int(line[2]) for line in self.lines() if line[:2] == ["did", fault]]

    def damaged(self, path: str, last_good: int) -> None:
        """Log that the test damaged the checkpoints of a path beyond a step."""
        with self.path.open("a") as file:
            file.write(f"damaged {path} {last_good}\n")
            os.fsync(file.fileno())

    def excess_steps(self) -> list[Step]:
        """Steps that were repeated although a checkpoint contained them.

        A step may be repeated only after the last checkpoint of its path.
        """
        done: set[tuple[str, int]] = set()
        saved: dict[str, int] = {}
        excess = []
        for line in self.lines():
            step = _step(line)
            if step is not None:
                if (step.path, step.number) in done and step.number <= saved.get(step.path, 0):
                    excess.append(step)
                done.add((step.path, step.number))
            elif line[0] == "saved" and line[1].startswith("checkpoints/"):
                path, _, number = line[1].removeprefix("checkpoints/").rpartition("/")
                saved[path] = max(saved.get(path, 0), int(number))
            elif line[0] == "damaged":
                saved[line[1]] = int(line[2])
        return excess


def _step(line: list[str]) -> Step | None:
    if len(line) != 3 or not (line[1].isdigit() and line[2].isdigit()):
        return None
    return Step(line[0], int(line[1]), int(line[2]))
