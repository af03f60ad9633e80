"""The head of the report: the best model, and what it took to find it."""

from __future__ import annotations

from typing import Any

from search.analysis.report.compute import seconds_spent
from search.analysis.report.report_data import ReportData
from search.formatting import has_noisy_latency
from search.pareto import hypervolume_of, nearest, quality
from search.plots.style import tick_text
from search.results.schemas import TrainingReuse
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS
from spaces.cost.units import duration


def summary(data: ReportData) -> dict[str, Any]:
    """The best trial or the one nearest to the limits, a cheaper one, and facts of the search."""
    found = data.best or _nearest(data)
    return {
        "found": found,
        "cheaper": None if data.best is None else _cheaper(data, data.best),
        "figures": _figures(data, found) if found else [],
        "facts": _facts(data),
    }


def _nearest(data: ReportData) -> TrialRecord | None:
    if not data.complete or not data.criteria.limits:
        return next(iter(data.complete), None)
    return nearest(data.complete, data.criteria, dict(data.criteria.limits))


def _figures(data: ReportData, record: TrialRecord) -> list[tuple[str, str, str]]:
    result, metric = record.result, data.metric
    test = data.tests.get(record.number, {})
    on_test = (
        (metric.text(test["score"]), f"95 % {data.interval(test)}")
        if "score" in test
        else ("–", "not read yet")
    )
    latency = "on a noisy machine" if has_noisy_latency(result) else "10th percentile"
    dense = f"of {result['dense_size_bytes'] / 1e6:.3g} MB dense"
    return [
        (data.score_name, metric.text(result["score"]), f"95 % {data.interval(result)}"),
        (f"test {data.score_name}", *on_test),
        ("size", COSTS["size_mb"].text(result["size_mb"]), f"{result['parameters']:,} parameters"),
        ("forward FLOPs", tick_text(result["flops"]), "for one sequence"),
        ("latency", COSTS["latency_ms"].text(result["latency_ms"]), latency),
        ("compression", f"{result['compression_ratio']:.1f}×", dense),
    ]


def _cheaper(data: ReportData, leader: TrialRecord) -> TrialRecord | None:
    """The cheapest model whose score lies within the interval of the best one's."""
    ends = [data.metric.quality(leader.result[end]) for end in ("score_low", "score_high")]
    within = (r for r in data.members if quality(r, data.criteria) >= min(ends))
    cheapest = next(within, leader)
    return None if cheapest.number == leader.number else cheapest


def _facts(data: ReportData) -> list[tuple[str, str]]:
    criteria = data.criteria
    against = "" if criteria.is_at_fixed_cost else f" against {data.cost.noun}"
    limits = [f"{COSTS[c].noun} ≤ {COSTS[c].text(v)}" for c, v in criteria.limits.items()]
    counts = [f"{count:,} {name}" for name, count in data.data.get("counts", {}).items()]
    return [
        ("objective", data.score_name + against),
        ("constraints", ", ".join(limits) or "none"),
        ("trials", _trials(data)),
        ("hypervolume", _hypervolume(data)),
        ("time spent", _time(data)),
        ("data", ", ".join(counts) or "not prepared yet"),
        ("fingerprint", str(data.data.get("fingerprint", "–"))[:16]),
    ]


def _trials(data: ReportData) -> str:
    finished = sum(record.is_finished for record in data.records)
    failed = sum(record.is_finished and not record.is_complete for record in data.records)
    running = len(data.records) - finished
    planned = data.space.search.trials
    state = "all finished" if finished >= planned else f"{finished:,} finished"
    parts = [f"{planned:,} planned, {state}"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{running:,} running or interrupted"] if running else []
    return ", ".join(parts)


def _hypervolume(data: ReportData) -> str:
    scale, metric = data.scale, data.metric
    volume = hypervolume_of(data.records, data.criteria, scale)
    return (
        f"{volume:.3f} of the box from guessing ({metric.text(metric.guessing)}) to "
        f"{metric.text(metric.perfect)} and from {scale.cost.text(scale.highest)} down to "
        f"{scale.cost.text(scale.lowest)}"
    )


def _time(data: ReportData) -> str:
    saved = TrainingReuse.of(data.records).seconds_saved
    return (
        f"{duration(seconds_spent(data.complete))} of compute; "
        f"{duration(saved)} saved by reusing training"
    )
