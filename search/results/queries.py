"""Small questions about trials that several answers ask."""

from __future__ import annotations

from objectives.store.store import Store
from search.storage.study import Study
from search.storage.trials import TrialRecord
from spaces.file.storage import Locations


def location(study: Study, record: TrialRecord) -> str:
    """Where the compressed model of a complete trial is."""
    where = Locations.of(study.search.storage)
    return Store(where.store_url).location(record.result["model"])


def shared(records: list[TrialRecord]) -> dict[str, float]:
    """What sharing training saved: steps and seconds, in all and of that from the store."""
    results = [record.result for record in records if record.is_complete]
    return {
        "steps_total": sum(r["steps"]["total"] for r in results),
        "steps_reused": sum(r["steps"]["reused"] for r in results),
        "seconds_trained": sum(r["seconds"]["train"] for r in results),
        "seconds_saved": sum(r["seconds"]["saved"] for r in results),
    }


def misses(record: TrialRecord, limits: dict[str, float]) -> dict[str, float]:
    """By which factor a trial exceeds each limit that it breaks."""
    return {
        cost: record.result[cost] / limit
        for cost, limit in limits.items()
        if record.result[cost] > limit
    }


def tightest(*several: dict[str, float]) -> dict[str, float]:
    """The lowest of several limits of each cost."""
    costs = {cost for limits in several for cost in limits}
    return {
        cost: min(limits[cost] for limits in several if cost in limits) for cost in sorted(costs)
    }
