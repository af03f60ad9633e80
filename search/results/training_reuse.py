"""How much training the trials of a search reused from the store."""

from __future__ import annotations

from search.storage.trials import TrialRecord


def training_reuse(records: list[TrialRecord]) -> dict[str, float]:
    """What sharing training saved: steps and seconds, in all and of that from the store."""
    results = [record.result for record in records if record.is_complete]
    return {
        "steps_total": sum(r["steps"]["total"] for r in results),
        "steps_reused": sum(r["steps"]["reused"] for r in results),
        "seconds_trained": sum(r["seconds"]["train"] for r in results),
        "seconds_saved": sum(r["seconds"]["saved"] for r in results),
    }
