"""How a trial can fail: a named state, never a wrong number."""

from __future__ import annotations


class TrialFailure(Exception):
    """One trial cannot give a result; the search goes on.

    Args:
        state: Short name of what happened, such as ``diverged``; it is recorded with the trial.
        message: What was seen.
    """

    def __init__(self, state: str, message: str) -> None:
        self.state = state
        self.message = message
        super().__init__(state, message)

    def __str__(self) -> str:
        return f"{self.state}: {self.message}"
