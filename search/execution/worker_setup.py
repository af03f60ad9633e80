"""What the workers of a search make its objective from."""

from __future__ import annotations

from dataclasses import dataclass, field

from spaces.cost.architecture import Architecture
from spaces.file.base_task import BaseTask
from spaces.file.own_task import OwnTask
from spaces.file.resources import Retries


@dataclass(frozen=True)
class WorkerSetup:
    """What each worker makes the objective of a search from; Ray sends it to them.

    Args:
        search: The search file as JSON, with absolute locations.
        data: Folders of the prepared data: of each of several checkpoints, or one.
        speeds: Steps per second of each architecture, where budgets are in seconds.
        code: The source of a user's own task (``objectives.tasks.own.shipping``); else empty.
        retries: How often a worker repeats an attempt that failed.
    """

    search: str
    data: tuple[str, ...]
    speeds: tuple[tuple[Architecture, float], ...] = ()
    code: bytes = field(default=b"", repr=False)
    retries: Retries = field(default_factory=Retries)


def code_for_workers(task: BaseTask) -> bytes:
    """The source of a user's own task; empty for tlc's, and for an installed package.

    Raises:
        UserError: The task cannot be imported, or is too large to be sent.
    """
    if not isinstance(task, OwnTask):
        return b""
    from objectives.tasks.own.shipping import archive_of

    return archive_of(task)
