"""The run of a trial in MLflow: its name, params and metrics, from the trial's record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from search.formatting import configuration_text
from search.storage.trials import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Metric

TRIAL_METRICS = (
    "loss", "dense_loss", "size_mb", "compression_ratio", "latency_ms", "flops", "parameters",
    "training_flops",
)  # fmt: skip
SCORES = ("score", "score_low", "score_high", "dense_score")
"""Logged under the metric's name: ``accuracy``, ``accuracy_low``, …"""


def trial_name(record: TrialRecord, budget_unit: str) -> str:
    """The name of a trial's run, such as ``#12 depth 2, width 64, 400 steps, rtn-4``."""
    return f"#{record.number} {configuration_text(record.configuration, budget_unit)}"


def trial_params(record: TrialRecord, budget_unit: str) -> dict[str, Any]:
    """Every dimension of a trial, by name."""
    architecture = record.configuration.architecture
    compression = record.configuration.compression
    budget = record.configuration.budget
    return {
        "depth": architecture.depth,
        "decoder_depth": architecture.decoder_depth,
        "width": architecture.width,
        "heads": architecture.heads,
        "feed_forward": architecture.feed_forward,
        "budget": int(budget) if budget.is_integer() else budget,
        "budget_unit": budget_unit,
        "quantisation": compression.quantisation.value,
        "bits": compression.quantisation.bits,
        "group_size": compression.group_size,
        "pruning": compression.pruning.value,
        "sparsity": compression.sparsity,
        "recovery": compression.recovery,
        "seed": record.configuration.seed,
        "configuration_hash": record.configuration.hash[:16],
    }


def trial_metrics(record: TrialRecord, curve: Iterable[list[float]]) -> list[Metric]:
    """The numbers of a complete trial, and ``[step, training loss]`` of its curve."""
    from mlflow.entities import Metric

    # The time of the record, and not of sending: a second sending then gives the same rows.
    stamp = milliseconds(record.finished) or 0
    result = record.result
    values = {_metric_name(name, result): float(result[name]) for name in SCORES}
    values |= {name: float(result[name]) for name in TRIAL_METRICS}
    values["train_seconds"] = result["seconds"]["train"]
    values["saved_seconds"] = result["seconds"]["saved"]
    values["steps_trained"] = float(result["steps"]["trained"])
    metrics = [Metric(name, value, stamp, 0) for name, value in values.items()]
    return metrics + [Metric("train_loss", loss, stamp, int(step)) for step, loss in curve]


def _metric_name(field: str, result: dict[str, Any]) -> str:
    return field.replace("score", result["metric"])


def milliseconds(moment: datetime | None) -> int | None:
    """A time as MLflow counts it: milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)
