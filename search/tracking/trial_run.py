"""The run of a trial in MLflow: its name, params, metrics and tags, from the trial's record."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from search.formatting import (
    configuration_text,
    has_noisy_latency,
    measured_latency,
    stage_text,
)
from search.storage.trials import TrialRecord
from search.tracking.remote_state import LATENCY_TAG, PARENT_TAG, RunState
from spaces.cost.inference_cost import optional_costs

if TYPE_CHECKING:
    from mlflow.entities import Metric

SCORES = ("score", "score_low", "score_high", "dense_score")
"""Logged under the metric's name: ``accuracy``, ``accuracy_low``, …"""
OTHERS = (
    "loss", "dense_loss", "size_mb", "compression_ratio", "latency_ms", "flops", "parameters",
    "training_flops",
)  # fmt: skip


def trial_name(record: TrialRecord, budget_unit: str) -> str:
    """The name of a trial's run, such as ``#12 depth 2, width 64, 400 steps, rtn-4``; that of a
    repeat ends with its seed."""
    seed = "" if record.repeats is None else f", seed {record.configuration.seed}"
    return f"#{record.number} {configuration_text(record.configuration, budget_unit)}{seed}"


def trial_params(record: TrialRecord, budget_unit: str) -> dict[str, Any]:
    """Every dimension of a trial, by name."""
    configuration = record.configuration
    budget = configuration.budget
    return {
        **configuration.architecture.to_dict(),
        "head_width": configuration.architecture.head_width,
        "feed_forward_ratio": configuration.architecture.feed_forward_ratio,
        "budget": int(budget) if budget.is_integer() else budget,
        "budget_unit": budget_unit,
        **dict(configuration.training),
        **asdict(configuration.compression),
        "bits": configuration.compression.quantisation.bits,
        "seed": configuration.seed,
        "configuration_hash": configuration.hash[:16],
    }


def trial_metrics(record: TrialRecord, curve: Iterable[list[float]]) -> list[Metric]:
    """The metrics of a complete trial.

    Args:
        record: The trial.
        curve: ``[step, training loss]`` over its training.
    """
    from mlflow.entities import Metric

    # The time in the record and not the time of sending, so that sending twice adds no rows.
    timestamp = milliseconds(record.finished) or 0
    result = record.result
    values = {
        **{name.replace("score", result["metric"]): float(result[name]) for name in SCORES},
        **{name: float(result[name]) for name in (*OTHERS, *optional_costs(result))},
        **{name: ends["value"] for name, ends in result.get("further_scores", {}).items()},
        "train_seconds": result["seconds"]["train"],
        "saved_seconds": result["seconds"]["saved"],
        "steps_trained": float(result["steps"]["trained"]),
        "latency_p10_ms": measured_latency(result),
    }
    if result.get("steps_per_second") is not None:
        values["steps_per_second"] = result["steps_per_second"]
    metrics = [Metric(name, value, timestamp, 0) for name, value in values.items()]
    return metrics + [Metric("train_loss", loss, timestamp, int(step)) for step, loss in curve]


def restated_times(record: TrialRecord) -> list[Metric]:
    """The times of a trial after they were restated: of two values of a metric, MLflow shows the
    later one."""
    from mlflow.entities import Metric

    finished = milliseconds(record.finished) or 0
    now = max(finished + 1, int(1000 * time.time()))
    names = ("latency_ms", *optional_costs(record.result))
    return [Metric(name, record.result[name], now, 0) for name in names]


def state_tags(run_state: RunState) -> dict[str, str]:
    """The tags that can change after a trial has finished."""
    return {
        "tlc.state": run_state.state,
        "on_frontier": str(run_state.on_frontier).lower(),
        PARENT_TAG: run_state.parent,
        **({LATENCY_TAG: run_state.latency_ms} if run_state.latency_ms else {}),
    }


def result_tags(record: TrialRecord) -> dict[str, str]:
    """The tags of a trial: what it repeats, and where its model is, or why it failed.

    A trial and its repeats with further seeds have one value of ``tlc.group``, by which MLflow
    groups runs.
    """
    group = record.number if record.repeats is None else record.repeats
    tags = {"tlc.group": f"#{group}"}
    if not record.is_complete:
        return tags | ({"tlc.message": record.message[:500]} if record.is_finished else {})
    steps = record.result["steps"]
    return {
        **tags,
        "tlc.steps_reused": f"{steps['reused']} of {steps['total']}",
        "tlc.stages": "; ".join(map(stage_text, record.result["stages"])),
        "tlc.model": record.result["model"],
        **latency_tag(record),
    }


def latency_tag(record: TrialRecord) -> dict[str, str]:
    """Whether other programs disturbed the measurement of a trial's latency; of others, nothing."""
    if not record.is_complete:
        return {}
    return {"tlc.latency": "noisy" if has_noisy_latency(record.result) else "quiet"}


def milliseconds(moment: datetime | None) -> int | None:
    """A time in milliseconds since 1970, as MLflow takes it."""
    return None if moment is None else int(moment.timestamp() * 1000)
