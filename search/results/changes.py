"""What commands on whole searches change, the same on the command line, over REST and in the
client."""

from __future__ import annotations

from pydantic import Field

from search.results.query_result import QueryResult


class PlannedDeletion(QueryResult):
    """What is deleted with a search."""

    name: str
    trials: int
    """Its trials, with repeats."""
    entries: int
    """Checkpoints and models of the store that no other search uses."""
    size_gb: float = Field(ge=0)
    """Gigabytes (10^9 bytes) of the entries."""
    needed_by: list[str]
    """Searches that start from its trials."""

    def __str__(self) -> str:
        text = (
            f"search {self.name!r}: {self.trials} trials with their runs in MLflow, and "
            f"{self.entries} checkpoints and models of the store ({self.size_gb:.2f} GB) that "
            "no other search uses"
        )
        needed = ", ".join(self.needed_by)
        starts = "starts" if len(self.needed_by) == 1 else "start"
        return f"{text}; {needed} {starts} from its trials (from_searches)" if needed else text


class Renaming(QueryResult):
    """A search that was renamed."""

    name: str
    """Its new name."""
    has_file: bool
    """Whether a search file names it, and not a program, as where the objective is a function."""
    followed: list[str]
    """Searches that start from its trials, and name it by its new name now."""
