"""The store of a search under test, seen from outside: by its files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interrupted:
    """A training path that was left before its end.

    Args:
        key: Of the path.
        newest: Folder of its newest checkpoint.
        previous: The step of the one before.
    """

    key: str
    newest: Path
    previous: int


def interrupted(store: Path) -> list[Interrupted]:
    """Paths of a store that were left between two checkpoints, and have two of them."""
    return [found for path in sorted((store / "checkpoints").glob("*")) for found in _left(path)]


def _left(path: Path) -> Iterator[Interrupted]:
    steps = sorted(path.glob("[0-9]*"))
    # A search that runs may remove what is looked at.
    with contextlib.suppress(FileNotFoundError):
        if len(steps) > 1:
            newest = steps[-1]
            state = json.loads((newest / "state.json").read_text())
            if int(newest.name) in state["resume_points"]:
                yield Interrupted(path.name, newest, int(steps[-2].name))


def staged(store: Path) -> list[Path]:
    """Folders that somebody is writing, or was."""
    return [path for path in (store / "staging").glob("*/*") if path.is_dir()]


def staged_checkpoint(store: Path) -> bool:
    """Whether a checkpoint is half written: some of its files are there, and no manifest."""
    for folder in staged(store):
        with contextlib.suppress(FileNotFoundError):
            names = {path.name for path in folder.iterdir()}
            if names and not names & {"config.json", "latency.json", "manifest.json"}:
                return True
    return False
