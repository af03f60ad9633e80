"""The error of a checkpoint that no model can start from."""

from __future__ import annotations

from spaces.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or not suited to its task.

    Args:
        name: As the search file spells it.
        reason: What is wrong, and what is allowed.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"model.from: {name!r}: {reason}")
