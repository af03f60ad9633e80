"""What the workers of a search make its objective from."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.cost.architecture import Architecture


@dataclass(frozen=True)
class WorkerSetup:
    """What each worker makes the objective of a search from; Ray sends it to them.

    Args:
        search: The search file as JSON, with absolute locations.
        data: Folders of the prepared data: of each of several checkpoints, or one.
        speeds: Steps per second of each architecture, where budgets are in seconds.
    """

    search: str
    data: tuple[str, ...]
    speeds: tuple[tuple[Architecture, float], ...] = ()
