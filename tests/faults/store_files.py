"""The files of the store of a system under test."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interrupted:
    """A training path that was interrupted.

    Args:
        key: Key of the path.
        newest: Folder of its newest checkpoint.
        previous: Step of the previous checkpoint.
    """

    key: str
    newest: Path
    previous: int


def interrupted(store: Path, *, since: float) -> list[Interrupted]:
    """Interrupted paths of a store that have at least two checkpoints.

    Args:
        store: Its folder.
        since: Oldest time of the newest checkpoint, in seconds since 1970.
    """
    found = []
    for path in sorted((store / "checkpoints").glob("*")):
        steps = sorted(path.glob("[0-9]*"))
        if len(steps) < 2 or not is_resume_point(steps[-1]):
            continue
        # A running search may have removed the checkpoint.
        with contextlib.suppress(FileNotFoundError):
            if steps[-1].stat().st_mtime > since:
                found.append(Interrupted(path.name, steps[-1], int(steps[-2].name)))
    return found


def is_resume_point(checkpoint: Path) -> bool:
    """Whether a checkpoint exists only until its path is complete."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
    except (OSError, ValueError):
        return False
    return int(checkpoint.name) in state["resume_points"]


def staged(store: Path) -> list[Path]:
    """Folders of unfinished writes."""
    return [path for path in (store / "staging").glob("*/*") if path.is_dir()]


def is_writing(pid: int, store: Path) -> bool:
    """Whether a process is writing a checkpoint: some files exist, and no manifest."""
    places = staged(store)
    if not places:
        return False
    try:
        held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return False
    return any(
        str(place / "lock") in held and _is_half_written_checkpoint(place / "entry")
        for place in places
    )


def _is_half_written_checkpoint(folder: Path) -> bool:
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return False
    return bool(names) and not names & {"config.json", "latency.json", "manifest.json"}


def starts_a_chain(store: Path, path: str) -> bool:
    """Whether a training path starts from untrained weights."""
    for checkpoint in (store / "checkpoints" / path).glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            return not json.loads((checkpoint / "state.json").read_text())["history"]
    return False
