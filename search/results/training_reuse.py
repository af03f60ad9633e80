"""Training that the trials of a search shared."""

from __future__ import annotations

from collections.abc import Iterable

from search.results.query_result import QueryResult
from search.storage.trials import TrialRecord


class TrainingReuse(QueryResult):
    """Training that trials reused from the store."""

    steps_total: int
    """Optimiser steps of all models."""
    steps_reused: int
    """Steps that were reused from the store."""
    seconds_trained: float
    seconds_saved: float
    """Seconds of training that reuse saved."""

    @classmethod
    def of(cls, records: Iterable[TrialRecord]) -> TrainingReuse:
        """The sums over the complete trials."""
        results = [record.result for record in records if record.is_complete]
        return cls(
            steps_total=sum(r["steps"]["total"] for r in results),
            steps_reused=sum(r["steps"]["reused"] for r in results),
            seconds_trained=sum(r["seconds"]["train"] for r in results),
            seconds_saved=sum(r["seconds"]["saved"] for r in results),
        )
